from math import log

import numpy as np
import pytest

from canary import fuse
from canary.fuse import Fuse

NOW = 1_000_000.0


def test_each_answer_multiplies_the_evidence_by_its_likelihood_ratio() -> None:
    assert log(fuse._ON_ERROR) == pytest.approx(2.303, abs=5e-4)
    assert log(fuse._ON_SUCCESS) == pytest.approx(-0.642, abs=5e-4)


def test_it_opens_at_the_fourth_request_when_all_fail_from_the_start() -> None:
    one = Fuse()
    trips = [one.observe_canary(True, NOW) for _ in range(4)]
    assert trips[:3] == [None, None, None]
    assert trips[3] == fuse.FuseTrip(NOW, requests=4, errors=4, production_failing=False)
    assert one.open


def test_it_reports_once_and_stays_open() -> None:
    one = Fuse()
    trips = [one.observe_canary(failed, NOW) for failed in [True] * 50 + [False] * 5000]
    assert sum(trip is not None for trip in trips) == 1
    assert one.open


def test_it_opens_within_20_failures_after_a_million_successes() -> None:
    one = Fuse()
    for _ in range(1_000_000):
        one.observe_canary(False, NOW)
    needed = next(n for n in range(1, 100) if one.observe_canary(True, NOW))
    assert needed <= 20


def test_it_stays_closed_at_the_error_rate_it_tolerates() -> None:
    """At alpha = 0.001 per fuse, the chance that any of 50 opens is below 5 %; the seed is fixed."""
    rng = np.random.default_rng(7)
    tripped = 0
    for _ in range(50):
        one = Fuse()
        for failed in (rng.random(5_000) < fuse.TOLERATED_ERROR_RATE).tolist():
            one.observe_canary(failed, NOW)
        tripped += one.open
    assert tripped == 0


def test_a_process_without_requests_never_opens() -> None:
    assert not Fuse().open
    assert not Fuse().production_failing(NOW)


def test_it_stays_closed_and_reports_when_production_fails_too() -> None:
    one = Fuse()
    for i in range(100):
        one.observe_production(i % 20 == 0, NOW)
    trips = [one.observe_canary(True, NOW) for _ in range(10)]
    assert [trip.production_failing for trip in trips if trip] == [True]
    assert not one.open


def test_it_opens_once_production_has_recovered_and_the_canary_has_not() -> None:
    one = Fuse()
    one.observe_production(True, NOW)
    held = [one.observe_canary(True, NOW) for _ in range(5)]
    later = one.observe_canary(True, NOW + 61)
    assert [trip.production_failing for trip in held if trip] == [True]
    assert later is not None
    assert not later.production_failing
    assert one.open


@pytest.mark.parametrize(("errors", "failing"), [(0, False), (4, False), (5, True), (100, True)])
def test_production_is_failing_from_5_percent_errors_in_the_last_minute(errors: int, failing: bool) -> None:
    one = Fuse()
    for i in range(100):
        one.observe_production(i < errors, NOW + 0.1 * i)
    assert one.production_failing(NOW + 45) is failing
    assert not one.production_failing(NOW + 75)
