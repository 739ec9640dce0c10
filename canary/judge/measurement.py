"""The result of one rule: a figure, its limit, and a sentence that a person can act on."""

from collections.abc import Callable
from math import exp
from typing import Literal

import msgspec

from canary.judge.sequential import FloatArray

_MAX_LOG = 690.0  # e to this is still a float

# The rules with a confidence sequence, and the number of tests that each one's comes from.
_BOUNDS = {"error_ratio": 1, "p95_ratio": 1, "error_go": 1, "p95_go": 1, "block_ratio": 2, "recall_ratio": 1}

RuleOutcome = Literal["pass", "rollback", "hold", "unknown"]


class Measurement(msgspec.Struct, frozen=True):
    """The result of one rule. `unknown`: too little evidence; it only stops an advance, and only if `required`.

    value:    the effect in `unit`; None without data, and for a ratio to zero.
    evidence: an e-value, if the rule has one: the rule acts from `evidence_limit` on, however often it is evaluated.
    tested:   the value that the evidence is about, where it is not `limit`.
    low, high: the confidence sequence: values up to `low` and from `high` on are rejected; None rejects none.
    samples:  requests, events or labels that `value` is of.
    """

    name: str
    outcome: RuleOutcome
    reason: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    evidence: float | None = None
    evidence_limit: float | None = None
    required: bool = True
    tested: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int | None = None


def e_value(log_evidence: FloatArray) -> float:
    """Return E from its logarithm, at most 1e299 so that it stays a number in JSON."""
    return exp(min(float(log_evidence), _MAX_LOG))


def confidence(measurement: Measurement) -> float | None:
    """Return the probability that the confidence sequence holds at every look; None for a rule that has none.

    It is one less the error probability of the tests that it comes from: two of them for a rule of both directions.
    """
    if measurement.evidence_limit is None or measurement.name not in _BOUNDS:
        return None
    return 1.0 - _BOUNDS[measurement.name] / measurement.evidence_limit


def interval_text(measurement: Measurement, figure: Callable[[float], str] = "{:.4g}".format) -> str:
    """Return the confidence sequence in words, "" if it excludes nothing; `figure` writes a number."""
    low, high = measurement.low, measurement.high
    if low is not None and high is not None:
        return f"{figure(low)} to {figure(high)}"
    if low is not None:
        return f"above {figure(low)}"
    return "" if high is None else f"below {figure(high)}"


def evidence_text(evidence: float, needed: float) -> str:
    return f"evidence {evidence:.3g} of the {needed:g} a rollback needs"
