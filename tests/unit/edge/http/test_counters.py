"""HTTP counts reach Prometheus once, under their contract names."""

from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from edge.http.counters import HttpCounters


@pytest.mark.parametrize(
    ("count", "name", "labels"),
    [
        (lambda c: c.response("/unit", 429), "sira_http_requests_total", {"route": "/unit", "status": "429"}),
        (lambda c: c.rejected("unit"), "sira_http_rejected_total", {"reason": "unit"}),
    ],
)
def test_each_count_is_published_once_under_its_contract_name(
    count: Callable[[HttpCounters], None], name: str, labels: dict[str, str]
) -> None:
    def value() -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    counters, before = HttpCounters(), value()
    for _ in range(3):
        count(counters)
    assert value() == before, "nothing is written on the hot path"
    counters.publish()
    counters.publish()
    assert value() - before == 3
