"""The limits that a rollout is judged by: data, frozen with the rollout, checked when it is read."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from runtime.reading import Violation

Mode = Literal["sequential", "threshold"]

Percent = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
Alpha = Annotated[float, Meta(gt=0, le=0.1)]
Ratio = Annotated[float, Meta(gt=1, le=100)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]


class CustomMetric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named PromQL query of one value, and the limit it must not be above (or below)."""

    name: Name
    query: Annotated[str, Meta(min_length=1, max_length=4096)]
    limit: float
    bad: Literal["above", "below"] = "above"
    on_breach: Literal["rollback", "hold"] = "rollback"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Effect sizes, error probabilities and minimum samples. The defaults are the runbook's and the method's.

    docs/judging.md explains each rule.
    """

    # Error ratio: up to `error_ratio_allowed` passes, above `error_ratio` rolls back, between them holds.
    error_ratio: Ratio = 1.5
    error_ratio_allowed: Ratio = 1.2
    error_alpha: Alpha = 0.004
    # An error rate this low passes whatever the ratio is, so that a canary can pass when neither arm ever fails.
    error_rate_negligible: Share = 0.0005
    # p95 latency
    p95_ratio: Ratio = 1.3
    latency_alpha: Alpha = 0.004
    latency_samples: Annotated[int, Meta(ge=20)] = 200
    # A p95 this low passes whatever the ratio is: a model may be faster than the histogram's first bin.
    p95_negligible_seconds: Annotated[float, Meta(ge=0, le=10)] = 0.002
    # Paired decisions
    block_ratio: Ratio = 2.0
    decision_alpha: Alpha = 0.001
    flip_rate: Share = 0.02
    psi: Annotated[float, Meta(gt=0)] = 0.1
    paired_samples: Annotated[int, Meta(ge=1)] = 1000
    # Sample ratio: how many times too many or too few requests the canary may get; null leaves the rule out.
    sample_ratio: Ratio | None = 1.25
    sample_alpha: Alpha = 0.001
    # Recall on the frauds that are known so far: how many times more of them production may catch. Null leaves the rule
    # out, which is the default: it needs labels of blocked events too (docs/judging.md).
    recall_ratio: Ratio | None = None
    recall_alpha: Alpha = 0.001
    # False positives from labels: relative change, and the share of labels that must have matured first
    false_positive_change: Annotated[float, Meta(gt=0, le=10)] = 0.05
    matured_share: Share = 0.8
    labels_required: bool = False
    # Custom metrics
    metrics: tuple[CustomMetric, ...] = ()
    # The evidence that a step needs to advance, and the evidence of a fault from which the rollout holds.
    go_evidence: Annotated[float, Meta(ge=1)] = 20.0
    # "ignore": alerts do not hold, so that a fix can advance while production alerts.
    critical_alerts: Literal["hold", "ignore"] = "hold"
    # Silence and stale evidence
    expected_requests: Annotated[int, Meta(ge=1)] = 15
    silence_seconds: Annotated[int, Meta(ge=10)] = 120
    stale_seconds: Annotated[int, Meta(ge=15)] = 30
    # Mode "threshold": no ratio is computed below this many canary requests.
    threshold_samples: Annotated[int, Meta(ge=1)] = 1000
    # Serving: the canary's timeout, and the percentage that production keeps at a step of 100 %.
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)] = 0.2
    holdback_percent: Annotated[float, Meta(ge=0, le=50)] = 0.0

    @staticmethod
    def check(fields: Mapping[str, Any]) -> Iterator[Violation]:
        """Yield the faults between fields; those that are not named have their defaults."""
        allowed = fields.get("error_ratio_allowed", DEFAULT_LIMITS.error_ratio_allowed)
        if allowed > fields.get("error_ratio", DEFAULT_LIMITS.error_ratio):
            yield Violation("/error_ratio_allowed", "must not be above error_ratio")
        names = [metric.name for metric in fields.get("metrics", ())]
        if len(names) != len(set(names)):
            yield Violation("/metrics", "every name must be different")


DEFAULT_LIMITS = Limits()


class Policy(msgspec.Struct, frozen=True):
    """The settings with which one bucket is absorbed or judged.

    percent:    the canary's share of traffic as routed, 0..100.
    dispersion: phi >= 1 of production's errors (`sequential.dispersion`); None: too little history, 1 is used.
    """

    percent: float
    mode: Mode = "sequential"
    limits: Limits = DEFAULT_LIMITS
    dispersion: float | None = None


def routed_percent(percent: float, limits: Limits) -> float:
    """Return the percentage that a step routes to the canary: all of it, less the holdback."""
    return min(percent, 100.0 - limits.holdback_percent)
