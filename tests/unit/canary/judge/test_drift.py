import numpy as np
import pytest

from canary.judge.drift import population_stability_index

EVEN = [5000] * 20


def psi(production: list[int], canary: list[int]) -> float:
    return population_stability_index(np.array([production, canary]))


def test_equal_scores_have_not_shifted() -> None:
    assert psi(EVEN, EVEN) == 0.0


def test_the_index_is_the_textbook_sum_over_groups_less_its_bias() -> None:
    """Two groups, 50/50 against 60/40: 0.1 ln 1.2 - 0.1 ln 0.8 = 0.04055; bias (2 - 1)(2/100,000) = 0.00002."""
    assert psi([50_000, 50_000], [60_000, 40_000]) == pytest.approx(0.04055 - 0.00002, abs=1e-5)


def test_few_scores_of_one_population_do_not_look_shifted() -> None:
    """With 300 scores per arm, uncorrected PSI averages 0.06; the correction removes that."""
    rng = np.random.default_rng(1)
    draws = [rng.multinomial(300, [0.05] * 20, size=2) for _ in range(200)]
    assert np.mean([population_stability_index(scores) for scores in draws]) < 0.015


def test_an_empty_bin_of_the_canary_counts_as_a_shift() -> None:
    assert 0.1 < psi(EVEN, [0, 0, *[5500] * 18]) < 10


def test_scores_that_nearly_all_lie_in_one_bin_can_be_compared() -> None:
    assert psi([99_000, *[0] * 18, 1000], [99_000, *[0] * 18, 1000]) == 0.0
    assert psi([99_000, *[0] * 18, 1000], [80_000, *[0] * 18, 20_000]) > 0.1


def test_scores_in_a_single_bin_cannot_shift() -> None:
    assert psi([100], [100]) == 0.0
