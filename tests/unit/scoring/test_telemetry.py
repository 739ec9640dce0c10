"""What a worker counts is what Prometheus is given."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from runtime.metrics import LATENCY_EDGES, observe_many
from scoring.observations import Observations
from scoring.telemetry import Telemetry


@given(st.lists(st.floats(0, 20) | st.sampled_from(LATENCY_EDGES), max_size=50))
def test_observing_many_at_once_equals_observing_each(seconds: list[float]) -> None:
    registry = CollectorRegistry()
    each = Histogram("each", "One by one.", buckets=LATENCY_EDGES, registry=registry)
    many = Histogram("many", "At once.", buckets=LATENCY_EDGES, registry=registry)
    observed = Observations()
    for value in seconds:
        each.observe(value)
        observed.add(value)
    observe_many(many, observed.counts, observed.total)

    def samples(histogram: Histogram) -> list[tuple[str, float]]:
        (family,) = histogram.collect()
        name = family.name
        return [
            (sample.name.removeprefix(name) + sample.labels.get("le", ""), pytest.approx(sample.value))
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]

    assert samples(many) == samples(each)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


PUBLISHED: list[tuple[Callable[[Telemetry], None], str, dict[str, str], float]] = [
    (
        lambda t: t.prediction("unit", "canary", "block", "ok", 0.004),
        "sira_predictions_total",
        {"product": "unit", "variant": "canary", "decision": "block", "outcome": "ok"},
        1,
    ),
    (
        lambda t: t.prediction("unit", "canary", "block", "ok", 0.004),
        "sira_inference_latency_seconds_sum",
        {"product": "unit", "variant": "canary"},
        0.004,
    ),
    (
        lambda t: t.prediction("unit", "canary", "block", "ok", 0.004),
        "sira_inference_latency_seconds_bucket",
        {"product": "unit", "variant": "canary", "le": "0.004"},
        1,
    ),
    (
        lambda t: t.prediction("unit", "canary", "block", "ok", 0.004, 0.05),
        "sira_scores_bucket",
        {"product": "unit", "variant": "canary", "le": "0.05"},
        1,
    ),
    (
        lambda t: t.prediction("unit", "canary", "none", "error", 0.004, None),
        "sira_scores_count",
        {"product": "unit", "variant": "canary"},
        0,
    ),
    (
        lambda t: t.model_run("unit", "production", 20.0),
        "sira_model_score_seconds_bucket",
        {"product": "unit", "variant": "production", "le": "+Inf"},
        1,
    ),
    (lambda t: t.cache("unit", hit=True), "sira_cache_hits_total", {"product": "unit"}, 1),
    (lambda t: t.cache("unit", hit=False), "sira_cache_misses_total", {"product": "unit"}, 1),
    (
        lambda t: t.fallback("unit", "canary_error"),
        "sira_canary_fallbacks_total",
        {"product": "unit", "reason": "canary_error"},
        1,
    ),
    (lambda t: t.paired_dropped("unit", 7), "sira_canary_paired_dropped_total", {"product": "unit"}, 7),
]


@pytest.mark.parametrize(("count", "name", "labels", "by"), PUBLISHED)
def test_each_count_is_published_once_under_its_contract_name(
    count: Callable[[Telemetry], None], name: str, labels: dict[str, str], by: float
) -> None:
    telemetry, before = Telemetry(), value(name, **labels)
    count(telemetry)
    assert value(name, **labels) == before, "nothing is written on the hot path"
    telemetry.publish()
    telemetry.publish()
    assert value(name, **labels) - before == pytest.approx(by)


def test_a_product_that_never_hits_shows_no_hits_rather_than_no_series() -> None:
    telemetry = Telemetry()
    telemetry.cache("never_hit", hit=False)
    telemetry.publish()
    assert REGISTRY.get_sample_value("sira_cache_hits_total", {"product": "never_hit"}) == 0
