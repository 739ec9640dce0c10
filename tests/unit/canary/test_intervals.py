import numpy as np
import pytest
from scipy.stats import binomtest

from canary.intervals import NOTHING, amount, paired_difference, share, weighted_share


def test_a_share_of_nothing_is_unknown() -> None:
    assert share(0, 0) == paired_difference(0, 0, 0) == NOTHING


@pytest.mark.parametrize(("part", "whole"), [(0, 5), (5, 5), (1, 3), (120, 4_000)])
def test_a_share_has_the_interval_that_scipy_computes(part: int, whole: int) -> None:
    expected = binomtest(part, whole).proportion_ci(method="wilson")
    found = share(part, whole)
    assert found.value == part / whole
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_equal_weights_change_nothing() -> None:
    expected = share(3, 40)
    found = weighted_share(3 * 2.5, 40 * 2.5, 40 * 2.5 * 2.5)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_the_interval_of_a_weighted_share_covers_the_truth() -> None:
    # Half of 1,000 events are seen with a chance of one in four, and weigh four.
    rng, covered, runs = np.random.default_rng(5), 0, 2_000
    for _ in range(runs):
        rare = rng.random(1_000) < 0.5
        seen = ~rare | (rng.random(1_000) < 0.25)
        weights, bad = np.where(rare, 4.0, 1.0)[seen], (rng.random(1_000) < 0.2)[seen]
        found = weighted_share(float(weights[bad].sum()), float(weights.sum()), float((weights**2).sum()))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.2 <= found.high
    assert covered / runs == pytest.approx(0.95, abs=0.02)


def test_the_interval_of_a_paired_difference_covers_the_truth() -> None:
    rng, covered, runs = np.random.default_rng(3), 0, 2_000
    for _ in range(runs):
        gained, lost, _rest = rng.multinomial(300, [0.08, 0.03, 0.89])
        found = paired_difference(int(gained), int(lost), 300)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.05 <= found.high
    assert covered / runs == pytest.approx(0.95, abs=0.02)


def test_the_interval_of_an_amount_covers_the_truth() -> None:
    rng, covered, runs = np.random.default_rng(4), 0, 1_000
    for _ in range(runs):
        amounts = [round(1_000 * a) for a in rng.lognormal(3, 0.5, rng.poisson(400))]
        found = amount(sum(amounts), sum(a * a for a in amounts), 1_000)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 400 * np.exp(3 + 0.125) <= found.high
    assert covered / runs == pytest.approx(0.95, abs=0.025)


def test_amounts_beyond_64_bits_are_exact() -> None:
    assert amount(10**24, 0, 1_000).value == 10**21
