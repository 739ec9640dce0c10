"""Thresholds and statuses."""

import math

import pytest

from registry.model_version import ALLOWED_CHANGES, PROMOTE_TARGETS, Status, Thresholds, ThresholdsInvalid


@pytest.mark.parametrize(("review", "block"), [(0, 0), (0, 1), (1, 1), (0.5, 0.5), (0.25, 0.75)])
def test_thresholds_from_zero_to_one_in_order_are_taken(review: float, block: float) -> None:
    assert Thresholds.from_json({"review": review, "block": block}) == Thresholds(review, block)


@pytest.mark.parametrize(
    ("review", "block", "faults"),
    [
        (0.9, 0.5, ("review must not be above block",)),
        (-0.1, 1.1, ("review must be a number from 0 to 1", "block must be a number from 0 to 1")),
        (math.nan, 0.5, ("review must be a number from 0 to 1",)),
        (0.5, math.inf, ("block must be a number from 0 to 1",)),
        (True, 1.0, ("review must be a number from 0 to 1",)),
        ("0.5", 0.9, ("review must be a number from 0 to 1",)),
    ],
)
def test_wrong_thresholds_name_each_fault(review: float, block: float, faults: tuple[str, ...]) -> None:
    with pytest.raises(ThresholdsInvalid) as refused:
        Thresholds(review, block)
    assert refused.value.faults == faults


@pytest.mark.parametrize("stored", [None, {}, {"review": 0.5}, {"review": "a", "block": 1}])
def test_thresholds_of_another_shape_are_refused(stored: object) -> None:
    with pytest.raises(ThresholdsInvalid):
        Thresholds.from_json(stored)


def test_archived_is_final() -> None:
    assert ALLOWED_CHANGES[Status.ARCHIVED] == frozenset()


def test_a_production_version_can_only_retire_and_a_retired_one_can_come_back() -> None:
    assert ALLOWED_CHANGES[Status.PRODUCTION] == {Status.RETIRED}
    assert Status.PRODUCTION in ALLOWED_CHANGES[Status.RETIRED]


def test_nobody_asks_for_retired_or_rolled_back() -> None:
    assert set(Status) - set(PROMOTE_TARGETS) == {Status.RETIRED, Status.ROLLED_BACK}
