"""Confidence sequences: the ratios of the canary to production that a rule's own test does not reject.

A test of "at most 1.2 times production's errors" is one of a family, one test per ratio. The ratios that are rejected
at its error probability bound the true one, however often one looks: Howard et al., Time-uniform, nonparametric,
nonasymptotic confidence sequences (arXiv 1810.08240), section 1. The tests of a family run side by side on a grid, and
a bound is the last ratio of the grid that is rejected: too wide by up to one step of the grid, and never too narrow.
"""

from functools import lru_cache
from math import log

import numpy as np

from canary.judge.evidence import BINS_PER_LIMIT, LIMIT_RATIO, bins_of_ratio
from canary.judge.sequential import LOG_ZERO, FloatArray, IntArray, paired_log_bets, reaches
from canary.limits import Limits

# Ratios of a grid, as multiples of the tested one: fine around it, because that is where a chart is looked at.
_FACTORS = (
    0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0,
    1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.5, 5.0, 8.0, 16.0, 50.0,
)  # fmt: skip
# The same for latency, in bins of the histogram: 13 are a factor of 1.3.
_BIN_OFFSETS = np.array(
    [-52, -39, -26, -20, -16, -13, -10, -8, -6, -5, -4, -3, -2, -1, 0,
     1, 2, 3, 4, 5, 6, 8, 10, 13, 18, 26, 39, 60, 90]
)  # fmt: skip
TESTED_LATENCY_RATIO = int(np.flatnonzero(_BIN_OFFSETS == 0)[0])  # where the limit is on the grid of latency
# The counts of paired decisions need no state, so their grid is finer: steps of 6 % from 1/20 to 20 times.
_PAIRED_FACTORS: FloatArray = np.power(1.06, np.arange(-51.0, 52.0))

MORE, FEWER = slice(None, 6), slice(6, None)
"""The alternatives of the test that rolls back ("at most this ratio") and of the one that lets a step advance."""


def begin_tests(shape: tuple[int, ...], ratios: FloatArray, alternatives: FloatArray) -> FloatArray:
    """Return the log wealth (..., G, K) of tests at G ratios: `restart` them before the first bucket."""
    log_wealth = np.full((*shape, len(ratios), len(alternatives)), LOG_ZERO)
    log_wealth[..., FEWER] = 0.0
    return log_wealth


def restart(log_wealth: FloatArray, weight: float) -> FloatArray:
    """Return the log wealth after a restart of the tests that roll back, with the weight of the rule's own test."""
    restarted = log_wealth.copy()
    restarted[..., MORE] = np.logaddexp(log_wealth[..., MORE], log(weight))
    return restarted


def begin_phase(log_wealth: FloatArray) -> FloatArray:
    """Return the log wealth without the evidence to advance, which each phase collects for itself."""
    begun = log_wealth.copy()
    begun[..., FEWER] = 0.0
    return begun


@lru_cache
def error_ratios(limits: Limits) -> FloatArray:
    """Return the grid of error ratios (G); both tested ratios, the allowed one and the limit, are on it."""
    return np.unique([*(factor * limits.error_ratio_allowed for factor in _FACTORS), limits.error_ratio])


@lru_cache
def latency_ratios(limits: Limits) -> tuple[IntArray, FloatArray]:
    """Return the grid of p95 ratios, in bins above production's p95 and as ratios: (G), (G)."""
    return (
        bins_of_ratio(limits.p95_ratio) + _BIN_OFFSETS,
        limits.p95_ratio * LIMIT_RATIO ** (_BIN_OFFSETS / BINS_PER_LIMIT),
    )


def lower_bound(
    log_wealth: FloatArray, ratios: FloatArray, needed: float, tested: float, decided: bool
) -> float | None:
    """Return the largest ratio that is rejected as too small: (G, K), (G) -> a ratio, None if none is.

    `decided`: whether the rule's own test, at `tested`, has reached the evidence `needed`.
    """
    rejected = _rejected(log_wealth[..., MORE], ratios, needed, tested, decided)
    return float(ratios[rejected[-1]]) if len(rejected) else None


def upper_bound(
    log_wealth: FloatArray, ratios: FloatArray, needed: float, tested: float, decided: bool
) -> float | None:
    """Return the smallest ratio that is rejected as too large, like `lower_bound`."""
    rejected = _rejected(log_wealth[..., FEWER], ratios, needed, tested, decided)
    return float(ratios[rejected[0]]) if len(rejected) else None


def paired_lower_bound(
    canary_only: int, production_only: int, both: int, *, tested: float, needed: float, decided: bool
) -> float | None:
    """Return the largest ratio of the canary's rate to production's that is rejected as too small, None if none is."""
    ratios, log_bets = _paired_family(tested)
    log_wealth = (np.array([canary_only, production_only, both], dtype=np.float64) @ log_bets).reshape(len(ratios), -1)
    rejected = _rejected(log_wealth, ratios, needed, tested, decided)
    return float(ratios[rejected[-1]]) if len(rejected) else None


@lru_cache
def _paired_family(tested: float) -> tuple[FloatArray, FloatArray]:
    """Return the grid (G), and what an event of each of three kinds adds to the log wealth of each bet (3, G * K)."""
    ratios: FloatArray = tested * _PAIRED_FACTORS
    return ratios, np.stack(paired_log_bets(ratios)).reshape(3, -1)


def _rejected(log_wealth: FloatArray, ratios: FloatArray, needed: float, tested: float, decided: bool) -> IntArray:
    """Return the places on the grid of the ratios whose test has reached the evidence."""
    rejected = reaches(log_wealth, needed)
    # The rule's own test decides about its own ratio: the last bit of a sum cannot part the two.
    rejected[ratios.searchsorted(tested)] = decided
    return rejected.nonzero()[0]
