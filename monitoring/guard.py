"""Production's own decision guard: has the share of blocked (or reviewed) events risen?

The share of each 10 s bucket is tested against the same hour of the last seven days. The test may be looked at after
every bucket for years: it is a Shiryaev-Roberts e-detector, whose mean time between false alarms is at least
exp(LOG_THRESHOLD) buckets (Shin, Ramdas & Rinaldo, E-detectors, arXiv 2203.03532).

Arrays end in an axis of K alternatives; the axes before it are independent products, so that the simulation runs the
functions that serve.
"""

from collections.abc import Sequence
from math import log

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from canary.judge.sequential import FloatArray, log_evidence, rate_upper_bound

BUCKET_SECONDS = 10
REFERENCE_DAYS = 7
# Fewer days than these say too little of the same hour: the guard stays silent, and says so.
MIN_REFERENCE_DAYS = 3
# The dispersion is measured on cells of three buckets.
CELL_BUCKETS = 3

# A share within this factor of the same hour's is normal: one day differs from another.
TOLERATED_RATIO = 1.2
MAX_TOLERATED_RATIO = 2.0
# Standard deviations from day to day that are tolerated: six days with the highest left out say little about them.
_DEVIATIONS = 4.0
# Alternatives, as multiples of the tolerated share, and how much of the evidence each may give. The middle one has the
# most: it is the best against a share that triples, which is some 2.3 times the tolerated share.
ALTERNATIVES = np.array([1.25, 1.6, 2.3, 4.0, 10.0])
WEIGHTS = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
# At most one false alarm per product and year, of its two shares together.
LOG_THRESHOLD = log(2 * 366 * 86_400 / BUCKET_SECONDS)
# Evidence beyond this above the threshold is not kept, so that the alarm ends soon after its cause.
MAX_EXCESS = 3.0

MAX_DISPERSION = 30.0
_LOG_ZERO = -1e9
_MIN_DISPERSION_EVENTS = 200


class NormalShare(msgspec.Struct, frozen=True):
    """What is normal in an hour: the highest `rate` of events that is, and how much they cluster (1: not at all)."""

    rate: FloatArray
    dispersion: ArrayLike = 1.0


def highest_normal_rate(events: FloatArray, requests: FloatArray) -> FloatArray:
    """The rate (...) up to which a share is normal, from the counts (..., days, hours) around the present hour.

    The day with the highest share is left out, so that yesterday's incident does not hide today's. The 99 % upper
    bound of the rest is multiplied by a tolerance: TOLERATED_RATIO, or more where the days themselves differ more. Of
    the hours (the one before, the same, the one after) the highest counts: a change to summer time moves nothing.
    Little traffic gives a high bound. NaN with less than MIN_REFERENCE_DAYS days of traffic.
    """
    days = (requests > 0).sum(axis=-2)
    kept_events, kept_requests = _without_highest(events, requests)
    bound = rate_upper_bound(kept_events.sum(axis=-2), kept_requests.sum(axis=-2))
    # All hours together say best how much the days differ: the noise of each would widen the tolerance.
    whole_days = _without_highest(events.sum(axis=-1, keepdims=True), requests.sum(axis=-1, keepdims=True))
    rates = np.where(days >= MIN_REFERENCE_DAYS, bound * _tolerance(*whole_days), np.nan)
    known = ~np.isnan(rates)
    return np.where(known.any(axis=-1), np.where(known, rates, 0.0).max(axis=-1), np.nan)


def _without_highest(events: FloatArray, requests: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The counts (..., days, hours), 0 on the day with the highest share of each hour."""
    shares = events / np.maximum(requests, 1.0)
    highest = np.where(requests > 0, shares, -1.0).argmax(axis=-2)[..., None, :]
    kept = requests.copy()
    np.put_along_axis(kept, highest, 0.0, axis=-2)
    return np.where(kept > 0, events, 0.0), kept


def _tolerance(events: FloatArray, requests: FloatArray) -> FloatArray:
    """How many times the usual share is still normal: counts (..., days, 1) -> (..., 1)."""
    used = requests > 0
    logs = np.log((events + 0.5) / np.maximum(requests, 1.0))
    days = np.maximum(used.sum(axis=-2), 2)
    mean = np.where(used, logs, 0.0).sum(axis=-2) / days
    variance = (np.where(used, logs - mean[..., None, :], 0.0) ** 2).sum(axis=-2) / (days - 1)
    return np.asarray(np.clip(np.exp(_DEVIATIONS * np.sqrt(variance)), TOLERATED_RATIO, MAX_TOLERATED_RATIO))


def dispersion(events: FloatArray, requests: FloatArray) -> FloatArray:
    """Pearson dispersion (...) of events in cells of 30 s around their hour's share: counts (..., hours, cells).

    1 for events that come one by one; clipped to [1, MAX_DISPERSION], and 1 below 200 events. McCullagh & Nelder,
    Generalized Linear Models, 4.5.
    """
    share = events.sum(axis=-1, keepdims=True) / np.maximum(requests.sum(axis=-1, keepdims=True), 1.0)
    expected = requests * share
    squares = ((events - expected) ** 2).sum(axis=(-2, -1))
    variance = (expected * (1.0 - share)).sum(axis=(-2, -1))
    measured = np.where(variance > 0.0, squares / np.maximum(variance, 1e-300), 1.0)
    enough = events.sum(axis=(-2, -1)) >= _MIN_DISPERSION_EVENTS
    return np.where(enough, np.clip(measured, 1.0, MAX_DISPERSION), 1.0)


def log_ratio(events: FloatArray, expected: FloatArray, phi: ArrayLike) -> FloatArray:
    """One bucket's log e-value (..., K) against "at most `expected` events (...)", for events that come in bursts.

    The exponential tilt of a negative binomial with variance phi * mean towards a mean of r * expected. Its mean under
    the null is exactly 1, where a Poisson likelihood ratio to the power 1/phi has none at all for large r; for phi = 1
    it is the Poisson likelihood ratio itself.
    """
    over = np.asarray(phi, dtype=np.float64)[..., None] - 1.0
    ratio = ALTERNATIVES / (1.0 + over)
    # (1 + (phi - 1) r) / phi, and its logarithm divided by phi - 1, which tends to r - 1.
    grown = 1.0 / (1.0 + over) + over * ratio
    cost = np.where(over > 1e-9, np.log(grown) / np.maximum(over, 1e-9), ALTERNATIVES - 1.0)
    return events[..., None] * np.log(ALTERNATIVES / grown) - expected[..., None] * cost


def quiet(shape: tuple[int, ...] = ()) -> FloatArray:
    """The state of a guard that has seen nothing: log wealth (..., K)."""
    return np.full((*shape, len(ALTERNATIVES)), -np.inf)


def observe(wealth: FloatArray, events: FloatArray, requests: FloatArray, reference: NormalShare) -> FloatArray:
    """The log wealth (T, ..., K) after each of T buckets of counts (T, ...), from the wealth (..., K) before.

    Where the reference's rate is NaN nothing is learned. Each bucket is a new moment at which the change may have
    come: R_t = (R_(t-1) + 1) * L_t.
    """
    known = ~np.isnan(reference.rate)
    expected = np.nan_to_num(reference.rate) * requests
    ratios = log_ratio(events, expected, reference.dispersion)
    ratios = np.where(np.broadcast_to(known[..., None], ratios.shape), ratios, -np.inf)
    ceiling = LOG_THRESHOLD + MAX_EXCESS
    steps = np.empty_like(ratios)
    for bucket, ratio in enumerate(ratios):
        wealth = np.minimum(np.logaddexp(wealth, 0.0) + ratio, ceiling)
        steps[bucket] = wealth
    return steps


def fires(wealth: FloatArray) -> NDArray[np.bool_]:
    """Return whether the evidence (..., K) is beyond what chance brings about once in two years."""
    weighted = np.maximum(wealth, _LOG_ZERO) + np.log(len(WEIGHTS) * WEIGHTS)  # log_evidence takes the mean
    return np.asarray(log_evidence(weighted) >= LOG_THRESHOLD)


def to_json(wealth: FloatArray) -> list[float]:
    """The log wealth (K,) as JSON holds it, which has no infinity."""
    return [max(value, _LOG_ZERO) for value in wealth.tolist()]


def from_json(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)
