"""When an explanation adds up, and when it must not be given."""

import math

import numpy as np
import pytest

from scoring.reasons.explanation import Impacts, additive, to_log_odds, to_probability


def impacts(*sums: float, scale: str = "log_odds") -> Impacts:
    return Impacts("exact", scale, 0.0, np.array([[s] for s in sums]))  # type: ignore[arg-type]


def test_a_gap_of_more_than_a_ten_thousandth_of_the_margin_is_no_explanation() -> None:
    score = float(to_probability(0.5, "log_odds"))
    assert additive(impacts(0.5 + 2e-4, 0.5 - 2e-4, 0.5), [score] * 3).tolist() == [False, False, True]


def test_a_probability_scale_is_compared_as_it_is() -> None:
    assert additive(impacts(0.3, 0.3002, scale="probability"), [0.30005, 0.3]).tolist() == [True, False]


def test_the_float32_step_of_a_tiny_probability_is_allowed_for() -> None:
    """1 - 0.9999 in float32 is off by up to 6e-8, which is 6e-4 of log odds."""
    margin = to_log_odds(1e-4)
    rounded = float(1 - np.float32(1 - 1e-4))
    assert abs(to_log_odds(rounded) - margin) > 1e-4
    assert additive(impacts(margin), [rounded]).all()


def test_values_that_are_not_numbers_are_no_explanation() -> None:
    assert not additive(impacts(math.nan, math.inf), [0.5, 0.5]).any()


@pytest.mark.parametrize("margin", [-40.0, -1.0, 0.0, 2.5, 30.0])
def test_log_odds_and_probability_are_each_others_inverse(margin: float) -> None:
    assert to_log_odds(float(to_probability(margin, "log_odds"))) == pytest.approx(margin, rel=1e-2)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, -math.inf), (1.0, math.inf)])
def test_log_odds_of_certainty_are_infinite(probability: float, expected: float) -> None:
    assert to_log_odds(probability) == expected
