"""Tests that stay valid however often they are evaluated (e-processes), as functions of counts.

Arrays end in an axis of two arms (production, canary) or of K alternatives; any axes before it are
independent rollouts, so that the simulation and the judge run the very same functions.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import sqrt

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PRODUCTION = 0
CANARY = 1

# Stands for log(0): finite, because JSON has no infinity.
LOG_ZERO = -1e9

# Waudby-Smith & Ramdas bet a fraction of the wealth; these are times 1/rho, the largest bet that cannot ruin.
PAIRED_BETS = np.array([0.02, 0.05, 0.12, 0.3, 0.6, 0.95])

_MAX_EXPONENT = 690.0  # e to this is still a float

_MAX_DISPERSION = 10.0
_MIN_DISPERSION_ERRORS = 200


class SplitTest(msgspec.Struct, frozen=True):
    """A test of how bad events split between the arms; restarts let it catch a change after a healthy time.

    log_wealth: (..., K) logarithm of the weighted sum, over restarts, of the likelihood ratio since each.
    likelihood: (..., K) largest log likelihood ratio since any one restart.
    events, requests: (..., K, 2) counted since that restart; since: (..., K) its time in epoch seconds.
    """

    log_wealth: FloatArray
    likelihood: FloatArray
    events: FloatArray
    requests: FloatArray
    since: FloatArray


class Window(msgspec.Struct, frozen=True):
    """The evidence window: counts (..., 2) since the restart with the largest likelihood, at time `since` (...)."""

    events: FloatArray
    requests: FloatArray
    since: FloatArray


def log_likelihood_ratio(
    events: FloatArray, requests: FloatArray, alternatives: FloatArray, rho: float | FloatArray, eta: ArrayLike = 1.0
) -> FloatArray:
    """Return one bucket's log likelihood ratio (..., K) of "rate_c = r * rho * rate_p" to "rate_c = rho * rate_p".

    The binomial split of Poisson events: Lindon & Malek, NeurIPS 2022 (arXiv 2011.03567), and Lindon, Sanden &
    Shirikian, KDD 2022 (arXiv 2205.14762). An incident that hits both arms cancels. `eta` = 1/dispersion.
    With no production requests, or no canary requests, the split carries no information and the result is 0.
    """
    canary_events = events[..., CANARY, None]
    total_events = canary_events + events[..., PRODUCTION, None]
    weight = (rho * requests[..., CANARY])[..., None]
    # The canary's share of the events under the null, odds / (1 + odds); 0 where nothing was requested.
    share = weight / np.maximum(weight + requests[..., PRODUCTION, None], 1e-300)
    return np.asarray(eta) * (
        canary_events * np.log(alternatives) - total_events * np.log1p((alternatives - 1.0) * share)
    )


def log_likelihood_ratio_to_rate(
    events: FloatArray, requests: FloatArray, rate: FloatArray, alternatives: FloatArray, eta: ArrayLike = 1.0
) -> FloatArray:
    """Return the same against a known rate of events per request, as an endless control arm would show it.

    (...) -> (..., K).
    """
    expected = (rate * requests)[..., None]
    return np.asarray(eta) * (events[..., None] * np.log(alternatives) - (alternatives - 1.0) * expected)


def begin_test(shape: tuple[int, ...], alternatives: FloatArray) -> SplitTest:
    """Return a test without wealth: `restart` it before the first bucket."""
    shape = (*shape, len(alternatives))
    zeros = np.zeros((*shape, 2))
    return SplitTest(np.full(shape, LOG_ZERO), np.full(shape, LOG_ZERO), zeros, zeros, np.zeros(shape))


def restart(test: SplitTest, weight: float, at: int) -> SplitTest:
    """Put `weight` on a change that happens now. All weights over a test's lifetime must sum to at most 1.

    E-detectors: Shin, Ramdas & Rinaldo (arXiv 2203.03532).
    """
    fresh = test.likelihood < 0.0
    return SplitTest(
        log_wealth=np.logaddexp(test.log_wealth, np.log(weight)),
        likelihood=np.where(fresh, 0.0, test.likelihood),
        events=np.where(fresh[..., None], 0.0, test.events),
        requests=np.where(fresh[..., None], 0.0, test.requests),
        since=np.where(fresh, float(at), test.since),
    )


def add_bucket(test: SplitTest, ratio: FloatArray, events: FloatArray, requests: FloatArray) -> SplitTest:
    """Multiply the wealth by a bucket's likelihood ratio (..., K); add its counts (..., 2) to the evidence window."""
    return SplitTest(
        log_wealth=test.log_wealth + ratio,
        likelihood=test.likelihood + ratio,
        events=test.events + events[..., None, :],
        requests=test.requests + requests[..., None, :],
        since=test.since,
    )


def log_evidence(log_wealth: FloatArray) -> FloatArray:
    """Return log E, where E is the mean over the alternatives. Reject at E >= 1/alpha (Ville's inequality).

    (..., K) -> (...).
    """
    # The reductions are called directly: for so few numbers, the methods `max` and `mean` take longer than they do.
    largest = np.maximum.reduce(log_wealth, axis=-1, keepdims=True)
    spread = np.add.reduce(np.exp(log_wealth - largest), axis=-1) / log_wealth.shape[-1]
    return np.asarray(largest[..., 0] + np.log(spread))


def reaches(log_wealth: FloatArray, evidence: float) -> NDArray[np.bool_]:
    """Return whether E is at least `evidence` (..., K) -> (...): cheaper for many tests than their evidence."""
    wealth = np.exp(np.minimum(log_wealth, _MAX_EXPONENT))
    return np.asarray(np.add.reduce(wealth, axis=-1) >= evidence * log_wealth.shape[-1])


def evidence_window(test: SplitTest) -> Window:
    """Return the counts of the alternative and the restart that fit the evidence best."""
    best = test.likelihood.argmax(axis=-1)
    if best.ndim == 0:
        return Window(test.events[best], test.requests[best], test.since[best])
    best = best[..., None]
    return Window(
        events=np.take_along_axis(test.events, best[..., None], axis=-2)[..., 0, :],
        requests=np.take_along_axis(test.requests, best[..., None], axis=-2)[..., 0, :],
        since=np.take_along_axis(test.since, best, axis=-1)[..., 0],
    )


def paired_log_evidence(canary_only: ArrayLike, production_only: ArrayLike, both: ArrayLike, rho: float) -> FloatArray:
    """Return log E against "P(canary) <= rho * P(production)" for yes/no decisions of both models on the same events.

    Each event multiplies the wealth of a bet b by 1 + b * (canary - rho * production). Counts (...) -> (...).
    Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting (arXiv 2010.09686).
    """
    canary, production, shared = _log_bets(rho)
    return log_evidence(
        np.asarray(canary_only)[..., None] * canary
        + np.asarray(production_only)[..., None] * production
        + np.asarray(both)[..., None] * shared
    )


def paired_log_bets(rho: float | FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what a yes of the canary only, of production only, and of both adds to the log wealth: each (..., 6)."""
    ratio = np.asarray(rho)[..., None]
    bets = PAIRED_BETS / ratio
    return np.log1p(bets), np.log1p(-bets * ratio), np.log1p(bets * (1.0 - ratio))


_log_bets = lru_cache(paired_log_bets)


def dispersion(cells: Iterable[tuple[int, int, int, int]]) -> float | None:
    """Return phi of production's errors, from (requests, errors, requests, errors) of its two halves.

    One cell per 30 s over the last day. Pearson's statistic of the split, pooled over cells (McCullagh & Nelder,
    Generalized Linear Models, 4.5), clipped to [1, 10]. 1 means independent errors, more means bursts.
    None below 200 errors.
    """
    counts = np.array(list(cells), dtype=np.float64).reshape(-1, 4)
    errors = counts[:, 1] + counts[:, 3]
    if errors.sum() < _MIN_DISPERSION_ERRORS:
        return None
    half = counts[:, 0] / np.maximum(counts[:, 0] + counts[:, 2], 1.0)
    variance = (errors * half * (1.0 - half)).sum()
    if variance == 0.0:
        return None
    squares = ((counts[:, 1] - errors * half) ** 2).sum()
    return float(np.clip(squares / variance, 1.0, _MAX_DISPERSION))


def rate_upper_bound(events: FloatArray, requests: FloatArray, z: float = 2.326) -> FloatArray:
    """Return an upper confidence bound of a rate (99 % at the default z): Byar's approximation to the Poisson limit.

    Breslow & Day, Statistical Methods in Cancer Research II (1987), p. 69. 0 events of n give 4.6/n.
    """
    more = events + 1.0
    bound = more * (1.0 - 1.0 / (9.0 * more) + z / (3.0 * np.sqrt(more))) ** 3
    return np.minimum(bound / np.maximum(requests, 1.0), 1.0)


class RelativeChange(msgspec.Struct, frozen=True):
    """The change of a paired rate relative to production's, with the half-width of its 95 % interval.

    `needed`: the number of paired events at which the half-width would equal the tolerated change.
    """

    change: float
    half_width: float
    needed: int


def paired_relative_change(
    canary_only: int, production_only: int, both: int, total: int, tolerated: float
) -> RelativeChange | None:
    """Return McNemar's difference of paired proportions (z = 2), or None when production has no such event.

    A 1 % rate with 10 % of it discordant each way needs 32,000 paired events for +-5 %.
    """
    production = (production_only + both) / total if total else 0.0
    if production == 0.0:
        return None
    change = (canary_only - production_only) / total / production
    discordant = (canary_only + production_only) / total
    half_width = 2.0 * sqrt(discordant / total) / production
    return RelativeChange(change, half_width, round((2.0 / (tolerated * production)) ** 2 * discordant))
