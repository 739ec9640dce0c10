"""Simulated fraud labels that come late, through the judge's own rule `recall_ratio`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from canary.judge.sequential import FloatArray, paired_log_evidence
from canary.limits import DEFAULT_LIMITS
from lab.benchmarks.canary.traffic import CANARY_PERCENT, REQUESTS_PER_SECOND

FRAUD_SHARE = 0.002
MEAN_DELAY_DAYS = 10.0
RATIO = 1.05
_HOURS = 24


@dataclass(frozen=True)
class Recall:
    """The shares of frauds that both models catch, the canary only, production only, neither."""

    caught: tuple[float, float, float, float]


# Production misses 30 % of frauds and the canary as many, or 30 % more: 39 %. A tenth of the catches differ.
SAME = Recall((0.65, 0.05, 0.05, 0.25))
MISSES_MORE = Recall((0.56, 0.05, 0.14, 0.25))


def days_to_rollback(
    recall: Recall, replicas: int, days: int, seed: int, progress: Callable[[float], None]
) -> FloatArray:
    """Return per replica the days until the rule rolls back; infinite if not within `days`. Labels count hourly."""
    rng = np.random.default_rng(seed)
    expected = REQUESTS_PER_SECOND * 3600 * CANARY_PERCENT / 100.0 * FRAUD_SHARE
    hours = days * _HOURS
    known_at = np.zeros((hours, replicas, 4), dtype=np.int64)
    # The share of one hour's frauds whose label arrives so many hours later.
    arrives = np.diff(-np.exp(-np.arange(hours + 1) / (MEAN_DELAY_DAYS * _HOURS)))
    for hour in range(hours):
        # Thinned Poisson counts: those that arrive in each later hour are independent.
        share = arrives[: hours - hour, None, None] * np.array(recall.caught)
        known_at[hour:] += rng.poisson(expected * np.broadcast_to(share, (hours - hour, replicas, 4)))
        progress(hour / hours)
    both, canary, production, _ = np.moveaxis(known_at.cumsum(axis=0), -1, 0)
    fires = paired_log_evidence(production, canary, both, RATIO) >= -np.log(DEFAULT_LIMITS.recall_alpha)
    progress(1.0)
    return np.where(fires.any(axis=0), (fires.argmax(axis=0) + 1.0) / _HOURS, np.inf)
