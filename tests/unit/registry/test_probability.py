"""Which scores are probabilities: one rule for all."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.probability import TOLERANCE, as_probabilities, is_probability


@pytest.mark.parametrize(
    ("score", "probability"),
    [
        (0.0, 0.0),
        (1.0, 1.0),
        (0.5, 0.5),
        (1.0000001, 1.0),
        (-1e-7, 0.0),
        (1 + TOLERANCE / 2, 1.0),
        (-TOLERANCE, 0.0),
        (5e-324, 5e-324),
    ],
)
def test_a_score_within_a_ten_thousandth_of_the_bounds_is_a_probability(score: float, probability: float) -> None:
    assert as_probabilities(score).item() == probability
    assert is_probability(as_probabilities(score).item())


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1.0002, -0.0002, 17.0, -1e300])
def test_any_other_score_is_none(score: float) -> None:
    assert math.isnan(as_probabilities(score).item())
    assert not is_probability(as_probabilities(score).item())


def test_a_model_that_raised_gave_no_probability() -> None:
    assert not is_probability(None)


def test_one_wrong_score_leaves_its_neighbours_as_they_are() -> None:
    scores = as_probabilities(np.array([0.25, 1.5, -1e-7, np.nan, 0.75], np.float32))
    np.testing.assert_array_equal(scores, [0.25, np.nan, 0.0, np.nan, 0.75])
    assert scores.dtype == np.float64


def test_the_values_given_are_not_changed() -> None:
    values = np.array([1.5, -1e-7])
    as_probabilities(values)
    assert values.tolist() == [1.5, -1e-7]


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1.5, -1.5])
def test_a_wrong_score_is_found_at_any_place_also_beside_a_nan(place: int, wrong: float) -> None:
    for beside in (0.5, math.nan):
        values = [beside] * 4
        values[place] = wrong
        found = as_probabilities(np.array(values))
        assert math.isnan(found[place])
        assert np.isnan(found).sum() == (1 if beside == 0.5 else 4)


@given(st.lists(st.floats(width=32) | st.floats(-0.125, 1.125, width=32), max_size=80))
def test_a_result_is_a_bound_the_score_itself_or_nan(values: list[float]) -> None:
    for score, result in zip(values, as_probabilities(values).tolist(), strict=True):
        assert math.isnan(result) or (0 <= result <= 1 and abs(result - score) <= TOLERANCE)
        assert not math.isnan(result) or not -TOLERANCE <= score <= 1 + TOLERANCE
