"""The maturation curve is that of simulated delays, although most cohorts are too young to show all of it."""

import numpy as np
import pytest

from monitoring.cohorts.layout import AGE_DAYS
from monitoring.cohorts.maturation import known_share, maturation


def by_age(delays: np.ndarray, until: float) -> dict[int, int]:  # type: ignore[type-arg]
    """Count labels by the place of their age, of those that are known when the cohort is that old."""
    places = np.searchsorted(AGE_DAYS, delays[delays <= until], side="right")
    return {int(place): int((places == place).sum()) for place in np.unique(places)}


def test_without_a_cohort_that_is_old_enough_there_is_no_curve() -> None:
    for cohorts in ([], [(-2.0, {0: 5})], [(0.5, {0: 5})], [(40.0, {})]):
        curve = maturation(cohorts)
        assert [point.share for point in curve] == [None] * len(AGE_DAYS)
        assert known_share(curve, 100) is None


def test_one_old_cohort_shows_its_own_shares() -> None:
    curve = maturation([(90.0, {0: 10, 1: 10, 3: 20, 6: 40, 7: 99})])
    assert [point.share for point in curve] == pytest.approx([1 / 8, 1 / 4, 1 / 4, 1 / 2, 1 / 2, 1 / 2, 1.0])


def test_the_curve_ends_with_the_age_that_a_cohort_has_reached() -> None:
    curve = maturation([(8.0, {0: 3, 3: 3})])
    assert [point.share for point in curve] == [0.5, 0.5, 0.5, 1.0, None, None, None]


def test_labels_that_all_come_at_once_are_known_from_then_on() -> None:
    curve = maturation([(90.0, {4: 7})])
    assert [point.share for point in curve] == [0.0] * 4 + [1.0] * 3


def test_young_cohorts_do_not_bias_the_curve() -> None:
    """Delays have a median of ten days; a curve from the labels so far would be far too steep."""
    rng = np.random.default_rng(53)
    ages = [7.0 * n for n in range(1, 27)]
    cohorts = [(age, by_age(rng.exponential(14.4, 3_000), age)) for age in ages]
    known_by = 1 - np.exp(-np.array(AGE_DAYS) / 14.4)
    curve = [point.share for point in maturation(cohorts)]
    assert curve == pytest.approx(list(known_by / known_by[-1]), abs=0.02)


def test_the_share_known_at_an_age_is_that_of_the_last_point_before_it() -> None:
    curve = maturation([(90.0, {0: 1, 3: 1, 5: 2})])
    assert known_share(curve, 0.9) is None
    assert [known_share(curve, age) for age in (1, 6.9, 7, 29, 30, 500)] == [0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
