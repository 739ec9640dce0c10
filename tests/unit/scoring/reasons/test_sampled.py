"""Sampling: the same for the same seed, exact in its sum, honest about its error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from scoring.reasons.shapley import sampled
from scoring.reasons.shapley.sampled import MIN_PROBABILITY, SampledShapley, permutations
from tests.support.brute_force import log_odds, shapley

RNG = np.random.default_rng(20_261_201)
BACKGROUND = [tuple(row) for row in RNG.normal(size=(64, 4)).tolist()]
EVENT = (1.5, -0.5, 2.0, 0.3)


def score(rows: Sequence[tuple[Any, ...]]) -> Any:
    x = np.array(rows)
    return 1 / (1 + np.exp(-((x[:, 0] * x[:, 1] * x[:, 2] + x[:, 2] ** 2 - x[:, 3]) / 2)))


def margin(rows: Sequence[tuple[Any, ...]]) -> Any:
    return log_odds(score(rows))


def test_the_same_seed_gives_the_same_values() -> None:
    first, second = (SampledShapley(score, BACKGROUND).explain(EVENT, "an id") for _ in range(2))
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()


def test_walks_that_are_scored_a_few_at_a_time_give_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many fields, all walks at once would take gigabytes."""
    at_once = SampledShapley(score, BACKGROUND).explain(EVENT, "an id")
    monkeypatch.setattr(sampled, "_MAX_VALUES", 3 * 2 * len(EVENT) ** 2)
    held: list[int] = []

    def counted(rows: Sequence[tuple[Any, ...]]) -> Any:
        held.append(len(rows))
        return score(rows)

    few = SampledShapley(counted, BACKGROUND).explain(EVENT, "an id")
    assert max(held[1:]) <= 3 * 2 * len(EVENT)
    assert few[0] == pytest.approx(at_once[0], abs=1e-12)
    assert few[1] == pytest.approx(at_once[1], abs=1e-12)


def test_another_seed_gives_other_values() -> None:
    sampled = SampledShapley(score, BACKGROUND)
    assert not np.allclose(sampled.explain(EVENT, "one")[0], sampled.explain(EVENT, "two")[0], atol=1e-6)


def test_the_permutations_of_a_seed_never_change() -> None:
    assert permutations("df7e607f", 2, 5).tolist() == [[4, 3, 2, 0, 1], [1, 0, 4, 3, 2]]


def test_base_and_values_add_up_to_the_margin() -> None:
    sampled = SampledShapley(score, BACKGROUND)
    assert sampled.base + sampled.explain(EVENT, "s")[0].sum() == pytest.approx(margin([EVENT])[0], abs=1e-9)


def test_the_standard_errors_cover_the_true_values() -> None:
    """Far over 68 % of 100 seeds are within one standard error: it is stated too large rather than too small."""
    sampled = SampledShapley(score, BACKGROUND)
    _, expected = shapley(margin, EVENT, BACKGROUND)
    within = []
    for seed in range(100):
        values, errors = sampled.explain(EVENT, str(seed))
        within.append(np.abs(values - expected) <= errors + 1e-12)
    assert np.mean(within, axis=0).min() >= 0.68


def test_an_additive_model_is_sampled_without_error() -> None:
    def additive(rows: Sequence[tuple[Any, ...]]) -> Any:
        return 1 / (1 + np.exp(-(np.array(rows) @ [0.5, -1.0, 0.0, 2.0])))

    values, _ = SampledShapley(additive, BACKGROUND).explain(EVENT, "s")
    mean = np.mean(BACKGROUND, axis=0)
    assert values == pytest.approx((np.array(EVENT) - mean) * [0.5, -1.0, 0.0, 2.0], abs=1e-9)


def test_a_model_that_answers_0_or_1_is_sampled_in_probability() -> None:
    sampled = SampledShapley(lambda rows: (np.array(rows)[:, 0] > 0).astype(float), BACKGROUND)
    values, _ = sampled.explain(EVENT, "s")
    assert sampled.scale == "probability"
    assert sampled.base + values.sum() == pytest.approx(1.0)


def test_a_probability_near_1_is_kept_finite_on_log_odds() -> None:
    def steep(rows: Sequence[tuple[Any, ...]]) -> Any:
        x = np.array(rows)[:, 2]
        return np.where(x >= 2.0, 1.0, 0.5 + 0 * x)

    quiet = [row for row in BACKGROUND if row[2] < 2.0]
    sampled = SampledShapley(steep, quiet)
    values, _ = sampled.explain(EVENT, "s")
    assert sampled.scale == "log_odds"
    assert values[2] == pytest.approx(float(log_odds(1 - MIN_PROBABILITY)))


def test_a_background_of_one_row_has_no_error_to_state() -> None:
    values, errors = SampledShapley(score, BACKGROUND[:1]).explain(EVENT, "s")
    assert np.isfinite(values).all()
    assert (errors == 0).all()
