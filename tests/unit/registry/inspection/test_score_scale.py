"""Scores on another scale are recognised by the scores alone, and only when nearly all of them are on it."""

import numpy as np
import pytest

from registry.inspection.score_scale import other_scale
from registry.probability import ScoreArray

TOLERANCE = 1e-4
MARGIN = np.random.default_rng(3).normal(size=300)


def sigmoid(margin: ScoreArray) -> ScoreArray:
    return np.asarray(1.0 / (1.0 + np.exp(-margin)))


def float32(scores: ScoreArray) -> ScoreArray:
    return scores.astype(np.float32).astype(np.float64)


def cause(expected: ScoreArray, scores: ScoreArray) -> str:
    found = other_scale(expected, float32(scores), TOLERANCE)
    assert found is not None
    return found


@pytest.mark.parametrize("factor", [0.5, 2.0, 15.0])
def test_log_odds_times_a_factor(factor: float) -> None:
    """A two-class discriminant (sklearn-onnx #1116), LightGBM's sigmoid parameter, a sum of trees for their mean."""
    found = cause(sigmoid(factor * MARGIN), sigmoid(MARGIN))
    assert found.startswith(f"the expected log odds are {factor:.4g} times the model's: ")


@pytest.mark.parametrize("constant", [-1.5, 0.3])
def test_log_odds_plus_a_constant(constant: float) -> None:
    assert f"the model's plus {constant:.4g}: an initial score is lost" in cause(
        sigmoid(MARGIN + constant), sigmoid(MARGIN)
    )


def test_log_odds_times_a_factor_plus_a_constant() -> None:
    """XGBoost's softmax over two classes, as its converter writes it."""
    assert "are -1 times the model's plus -1.5: " in cause(sigmoid(-MARGIN - 1.5), sigmoid(MARGIN))


def test_a_few_rows_that_differ_for_another_reason_do_not_hide_the_line() -> None:
    expected = sigmoid(2 * MARGIN)
    expected[:10] = 0.5
    assert "2 times the model's" in cause(expected, sigmoid(MARGIN))


def test_saturated_scores_do_not_hide_the_line() -> None:
    scores = sigmoid(MARGIN * 4)
    scores[:5], scores[5:10] = 0.0, 1.0
    expected = sigmoid(MARGIN * 2)
    expected[:5], expected[5:10] = 0.0, 1.0
    assert "0.5 times the model's" in cause(expected, scores)


def test_scores_of_few_values_lie_on_any_line_and_say_nothing() -> None:
    scores = np.where(MARGIN > 0, 0.7, 0.2)
    assert other_scale(np.where(MARGIN > 0, 0.6, 0.3), scores, TOLERANCE) is None


def test_scores_that_only_correlate_are_on_no_other_scale() -> None:
    noise = np.random.default_rng(4).normal(scale=0.1, size=300)
    assert other_scale(sigmoid(2 * MARGIN + noise), sigmoid(MARGIN), TOLERANCE) is None


def test_a_few_differing_rows_beside_many_that_agree_are_no_other_scale() -> None:
    expected = sigmoid(MARGIN)
    expected[:10] = 0.5
    assert other_scale(expected, float32(sigmoid(MARGIN)), TOLERANCE) is None


def test_rows_without_a_probability_are_on_no_other_scale() -> None:
    assert other_scale(sigmoid(MARGIN), np.full(300, np.nan), TOLERANCE) is None
