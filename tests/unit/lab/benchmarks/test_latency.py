import math

import numpy as np

from lab.benchmarks.latency import by_second, summary, tail
from lab.load.open_loop import Recording, Schedule


def _recording(latency: np.ndarray) -> Recording:
    return Recording(latency, np.zeros(latency.size), started=0.0, cpu=0.1)


def test_percentiles_are_of_requests_that_happened() -> None:
    found = tail(np.arange(1, 101) / 1e3)
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == (51.0, 96.0, 100.0, 100.0)


def test_an_unanswered_request_is_slower_than_any() -> None:
    assert tail(np.array([0.001, np.nan])).max_ms == math.inf


def test_no_request_has_no_percentile() -> None:
    assert math.isnan(tail(np.array([])).p50_ms)


def test_requests_around_the_promote_are_counted_separately() -> None:
    latency = np.full(1000, 0.001)
    latency[490:510] = 0.050  # due from 4.9 to 5.1 s
    found = summary(200.0, Schedule(100, 10), _recording(latency), promoted_at=5.0, generator=_recording(latency))
    assert found.around_promote.p95_ms == 50.0
    assert found.tail.p95_ms == 1.0


def test_each_second_has_its_own_percentiles() -> None:
    seconds, p50, _ = by_second(_recording(np.repeat([0.001, 0.002, np.nan], 100)), rate=100)
    assert seconds.tolist() == [0.0, 1.0]
    assert p50.tolist() == [1.0, 2.0]
