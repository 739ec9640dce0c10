"""The usual methods on the same traffic: seconds to a rollback per replica, NaN if never.

Each method takes requests and errors (replicas, ticks, 2), the arm axis being (production, canary).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from canary.judge.evidence import BUCKET_SECONDS
from canary.judge.sequential import CANARY, PRODUCTION, FloatArray
from lab.benchmarks.canary.traffic import Counts

RATIO = 1.5
SAMPLES = 100
FAILED_CHECKS = 5

_MINUTE = 60 // BUCKET_SECONDS
_HOUR_MINUTES = 60


def naive_ratio(requests: Counts, errors: Counts) -> FloatArray:
    """Compare the error ratio so far with 1.5 at every tick, once the canary has 100 requests: a plain runbook rule."""
    n, x = requests.cumsum(axis=1), errors.cumsum(axis=1)
    return _first(_over(n, x) & (n[..., CANARY] >= SAMPLES), BUCKET_SECONDS)


def failed_checks_in_total(requests: Counts, errors: Counts) -> FloatArray:
    """Roll back at the fifth failed one-minute check in total: the failure limit of delivery controllers."""
    failed = _failed_minutes(requests, errors)
    return _first(failed.cumsum(axis=1) >= FAILED_CHECKS, 60)


def failed_checks_in_a_row(requests: Counts, errors: Counts) -> FloatArray:
    """Roll back after five consecutive failed one-minute checks."""
    failed = _failed_minutes(requests, errors)
    run = np.asarray(np.lib.stride_tricks.sliding_window_view(failed, FAILED_CHECKS, axis=1).all(axis=-1))
    return _first(run, 60) + (FAILED_CHECKS - 1) * 60


def hourly_mann_whitney(requests: Counts, errors: Counts) -> FloatArray:
    """Compare each hour's 60 error rates per minute of both arms: p < 0.01 and a ratio > 1.5."""
    n, x = _minutes(requests), _minutes(errors)
    hours = n.shape[1] // _HOUR_MINUTES
    n, x = (counts[:, : hours * _HOUR_MINUTES].reshape(len(n), hours, _HOUR_MINUTES, 2) for counts in (n, x))
    rates = x / np.maximum(n, 1)
    p = mannwhitneyu(rates[..., CANARY], rates[..., PRODUCTION], alternative="greater", axis=-1).pvalue
    return _first((p < 0.01) & _over(n.sum(axis=2), x.sum(axis=2)), 3600)


def z_test_with_peeking(requests: Counts, errors: Counts) -> FloatArray:
    """Run a pooled z-test of two proportions at every tick, two-sided p < 0.01, once the canary has 100 requests."""
    n, x = requests.cumsum(axis=1), errors.cumsum(axis=1)
    pooled = x.sum(axis=-1) / n.sum(axis=-1)
    spread = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / n[..., CANARY] + 1 / n[..., PRODUCTION]))
    z = (x[..., CANARY] / n[..., CANARY] - x[..., PRODUCTION] / n[..., PRODUCTION]) / spread
    return _first((z > 2.576) & (n[..., CANARY] >= SAMPLES), BUCKET_SECONDS)


def asymptotic_confidence_sequence(requests: Counts, errors: Counts) -> FloatArray:
    """Stop when a 95 % asymptotic confidence sequence of the difference of error rates is above 0 at a tick.

    GrowthBook's published sequential test: Waudby-Smith et al., Time-uniform central limit theory and asymptotic
    confidence sequences (arXiv 2103.06476), theorem 2.2, with rho tuned for 5,000 requests (their default) and one
    failure in each arm at least.
    """
    alpha, tuned_for = 0.05, 5000
    rho2 = (-2.0 * np.log(alpha) + np.log(1.0 - 2.0 * np.log(alpha))) / tuned_for
    n, x = requests.cumsum(axis=1).astype(float), errors.cumsum(axis=1).astype(float)
    total, rates = n.sum(axis=-1), x / np.maximum(n, 1.0)
    # The variance of one request's contribution to the difference: per-arm variances, scaled to the common count.
    variance = total * (rates * (1.0 - rates) / np.maximum(n, 1.0)).sum(axis=-1)
    grown = total * rho2 + 1.0
    half_width = np.sqrt(variance * 2.0 * grown / (total**2 * rho2) * np.log(np.sqrt(grown) / alpha))
    difference = rates[..., CANARY] - rates[..., PRODUCTION]
    return _first((difference > half_width) & (x >= 1.0).all(axis=-1), BUCKET_SECONDS)


BASELINES: dict[str, Callable[[Counts, Counts], FloatArray]] = {
    "ratio > 1.5 at every tick, 100 requests at least": naive_ratio,
    "five failed one-minute checks in total": failed_checks_in_total,
    "five failed one-minute checks in a row": failed_checks_in_a_row,
    "Mann-Whitney every hour": hourly_mann_whitney,
    "z-test at every tick, p < 0.01": z_test_with_peeking,
    "GrowthBook's sequential test, alpha 0.05": asymptotic_confidence_sequence,
}


def _failed_minutes(requests: Counts, errors: Counts) -> NDArray[np.bool_]:
    n, x = _minutes(requests), _minutes(errors)
    return _over(n, x) & (n[..., CANARY] >= SAMPLES)


def _minutes(counts: Counts) -> Counts:
    replicas, ticks, arms = counts.shape
    return np.asarray(counts[:, : ticks // _MINUTE * _MINUTE].reshape(replicas, -1, _MINUTE, arms).sum(axis=2))


def _over(requests: Counts, errors: Counts) -> NDArray[np.bool_]:
    """Return where the canary's error rate exceeds 1.5 times production's, multiplied out so that zeros are safe."""
    canary = errors[..., CANARY].astype(float) * requests[..., PRODUCTION]
    limit = RATIO * errors[..., PRODUCTION].astype(float) * requests[..., CANARY]
    return np.asarray(canary > limit)


def _first(fired: NDArray[np.bool_], seconds: int) -> FloatArray:
    """Return the end, in seconds, of the first interval of (replicas, intervals) that fired."""
    return np.where(fired.any(axis=1), (fired.argmax(axis=1) + 1.0) * seconds, np.nan)
