from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, chi2

from canary.judge import sequential
from canary.judge.sequential import (
    begin_test,
    dispersion,
    evidence_window,
    log_evidence,
    log_likelihood_ratio,
    log_likelihood_ratio_to_rate,
    paired_log_evidence,
    paired_relative_change,
    rate_upper_bound,
    restart,
)
from canary.judge.state import ERROR_ALTERNATIVES, GO_ALTERNATIVES


def counts(production: float, canary: float) -> np.ndarray:
    return np.array([production, canary], dtype=float)


def test_the_kernel_is_the_likelihood_ratio_of_the_binomial_split() -> None:
    """Lindon & Malek: given the total, the canary's events are binomial with odds r * rho * n_c / n_p."""
    rho, r = 1.2, np.array([2.5])
    null, other = (odds / (1 + odds) for odds in (rho * 100 / 900, 2.5 * rho * 100 / 900))
    expected = binom.logpmf(4, 7, other) - binom.logpmf(4, 7, null)
    assert log_likelihood_ratio(counts(3, 4), counts(900, 100), r, rho)[0] == pytest.approx(expected)


@pytest.mark.parametrize("alternatives", [ERROR_ALTERNATIVES, GO_ALTERNATIVES])
def test_a_bucket_multiplies_the_wealth_by_1_on_average_at_the_edge_of_the_null(alternatives: np.ndarray) -> None:
    share = 1.2 * 100 / (900 + 1.2 * 100)
    outcomes = np.arange(13)
    events = np.stack([12 - outcomes, outcomes], axis=-1).astype(float)
    ratios = np.exp(log_likelihood_ratio(events, np.broadcast_to(counts(900, 100), events.shape), alternatives, 1.2))
    assert binom.pmf(outcomes, 12, share) @ ratios == pytest.approx(np.ones(len(alternatives)))


@pytest.mark.parametrize(
    ("events", "requests"), [((0, 0), (0, 0)), ((0, 0), (900, 0)), ((0, 3), (0, 100)), ((0, 0), (900, 100))]
)
def test_buckets_without_requests_or_events_add_no_evidence(events: tuple[int, int], requests: tuple[int, int]) -> None:
    ratio = log_likelihood_ratio(counts(*events), counts(*requests), ERROR_ALTERNATIVES, 1.2)
    assert ratio == pytest.approx(np.zeros(6))


def test_failures_of_only_production_lower_the_evidence_against_the_canary() -> None:
    assert (log_likelihood_ratio(counts(9, 0), counts(900, 100), ERROR_ALTERNATIVES, 1.2) < 0).all()


def test_an_endless_control_arm_is_a_known_rate() -> None:
    rate, endless = 0.003, 1e9
    split = log_likelihood_ratio(counts(rate * endless, 4), counts(endless, 100), ERROR_ALTERNATIVES, 1.0)
    known = log_likelihood_ratio_to_rate(np.array(4.0), np.array(100.0), np.array(rate), ERROR_ALTERNATIVES)
    assert known == pytest.approx(split, rel=1e-4)


def test_dispersion_lowers_the_evidence_of_errors() -> None:
    plain = log_likelihood_ratio(counts(3, 4), counts(900, 100), ERROR_ALTERNATIVES, 1.2)
    assert log_likelihood_ratio(counts(3, 4), counts(900, 100), ERROR_ALTERNATIVES, 1.2, 1 / 3) == pytest.approx(
        plain / 3
    )


def test_evidence_is_the_mean_over_the_alternatives() -> None:
    assert np.exp(log_evidence(np.log(np.array([1.0, 2.0, 9.0])))) == pytest.approx(4.0)


def test_evidence_too_large_for_a_float_stays_a_logarithm() -> None:
    assert log_evidence(np.array([5000.0, 4000.0])) == pytest.approx(5000.0 - np.log(2))


def test_a_test_without_weight_has_no_wealth() -> None:
    assert log_evidence(begin_test((), ERROR_ALTERNATIVES).log_wealth) < -1e8


def test_a_restart_keeps_the_window_of_alternatives_with_evidence_and_restarts_the_others() -> None:
    alternatives = np.array([2.0, 4.0])
    test = restart(begin_test((), alternatives), 0.1, at=0)
    test = sequential.add_bucket(test, np.array([1.0, -1.0]), counts(3, 5), counts(900, 100))
    test = restart(test, 0.1, at=300)
    assert test.likelihood.tolist() == [1.0, 0.0]
    assert test.since.tolist() == [0.0, 300.0]
    window = evidence_window(test)
    assert (window.events.tolist(), window.requests.tolist(), float(window.since)) == ([3.0, 5.0], [900.0, 100.0], 0.0)


def test_paired_wealth_is_the_product_of_its_bets() -> None:
    """Waudby-Smith & Ramdas: each event multiplies a bet's wealth by 1 + bet * (canary - rho * production)."""
    events = [(1, 0)] * 5 + [(0, 1)] * 2 + [(1, 1)] * 3 + [(0, 0)] * 7
    wealth = [np.prod([1 + bet * (c - 2.0 * p) for c, p in events]) for bet in sequential.PAIRED_BETS / 2.0]
    assert np.exp(paired_log_evidence(5, 2, 3, rho=2.0)) == pytest.approx(np.mean(wealth))


@pytest.mark.parametrize("p11", [0.0, 0.005, 0.01])
def test_a_paired_bet_is_fair_when_the_canary_blocks_exactly_rho_times_as_often(p11: float) -> None:
    p10, p01 = 0.02 - p11, 0.01 - p11
    gains = [1 + bet * (c - 2.0 * p) for bet, (c, p) in product(sequential.PAIRED_BETS / 2.0, [(1, 0), (0, 1), (1, 1)])]
    for only_canary, only_production, both in np.array(gains).reshape(-1, 3):
        mean = p10 * only_canary + p01 * only_production + p11 * both + (1 - p10 - p01 - p11)
        assert mean == pytest.approx(1.0)


def test_without_paired_events_there_is_no_evidence() -> None:
    assert paired_log_evidence(0, 0, 0, rho=2.0) == 0.0


def test_errors_that_come_in_pairs_have_dispersion_2() -> None:
    assert dispersion([(3000, 2, 3000, 0), (3000, 0, 3000, 2)] * 100) == pytest.approx(2.0)


def test_errors_split_by_chance_have_dispersion_1() -> None:
    rng = np.random.default_rng(3)
    cells = [(3000, int(a), 3000, int(b)) for a, b in rng.poisson(9, size=(2880, 2))]
    assert dispersion(cells) == pytest.approx(1.0, abs=0.1)


def test_an_uneven_split_is_not_mistaken_for_dispersion() -> None:
    assert dispersion([(8000, 80, 2000, 20)] * 10) == 1.0


def test_dispersion_is_clipped_at_10() -> None:
    assert dispersion([(3000, 500, 3000, 0), (3000, 0, 3000, 500)]) == 10.0


@pytest.mark.parametrize("cells", [[], [(3000, 0, 3000, 0)], [(3000, 99, 3000, 100)], [(3000, 300, 0, 0)]])
def test_with_too_little_history_there_is_no_dispersion(cells: list[tuple[int, int, int, int]]) -> None:
    assert dispersion(cells) is None


@pytest.mark.parametrize("events", [0, 1, 10, 1000])
def test_the_upper_bound_is_that_of_the_poisson_distribution(events: int) -> None:
    exact = chi2.ppf(0.99, 2 * (events + 1)) / 2 / 1_000_000
    assert rate_upper_bound(np.array(float(events)), np.array(1e6)) == pytest.approx(exact, rel=0.01)


def test_without_requests_any_rate_is_possible() -> None:
    assert rate_upper_bound(np.array(0.0), np.array(0.0)) == 1.0


def test_5_percent_of_a_1_percent_rate_needs_32_000_paired_events() -> None:
    found = paired_relative_change(canary_only=32, production_only=32, both=288, total=32_000, tolerated=0.05)
    assert found is not None
    assert (found.change, round(found.half_width, 9), found.needed) == (0.0, 0.05, 32_000)


@pytest.mark.parametrize(("production_only", "both", "total"), [(0, 0, 0), (0, 0, 1000)])
def test_a_rate_of_zero_has_no_relative_change(production_only: int, both: int, total: int) -> None:
    assert paired_relative_change(3, production_only, both, total, 0.05) is None
