"""Simulated splits by routing key, through the judge's own sample-ratio check."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from canary.judge import sample_ratio, sequential
from canary.judge.absorb import RESTART_SECONDS, RESTARTS_WEIGHT
from canary.judge.evidence import BUCKET_SECONDS
from canary.judge.sample_ratio import SplitWatch
from canary.judge.sequential import FloatArray
from canary.judge.state import PHASE_WEIGHT
from canary.limits import DEFAULT_LIMITS
from lab.benchmarks.canary.traffic import CANARY_PERCENT, REQUESTS_PER_SECOND

_CHUNK = 720


@dataclass(frozen=True)
class Keys:
    """`keys` routing keys whose traffic is lognormal with `sigma`; each comes in runs of `run` requests on average.

    `arrives`: the share of what the canary should get that it does get.
    """

    keys: int = 5000
    sigma: float = 1.0
    run: float = 4.0
    arrives: float = 1.0


def first_holds(
    traffic: Keys, replicas: int, seconds: int, seed: int, progress: Callable[[float], None]
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return per replica the seconds to the first hold, infinite without one, and how many holds began."""
    rng = np.random.default_rng(seed)
    share = _shares(traffic, replicas, rng) * traffic.arrives
    watch = sample_ratio.begin_watch((replicas,), 0)
    watch = _restart(watch, PHASE_WEIGHT, 0)
    first, begun, held = np.full(replicas, np.inf), np.zeros(replicas, dtype=np.int64), np.zeros(replicas, dtype=bool)
    for tick in range(seconds // BUCKET_SECONDS):
        if tick % _CHUNK == 0:
            requests = _requests(traffic, share, rng)
            progress(tick * BUCKET_SECONDS / seconds)
        start = tick * BUCKET_SECONDS
        if start % RESTART_SECONDS == 0:
            number = start // RESTART_SECONDS + 1
            watch = _restart(watch, RESTARTS_WEIGHT / (number * (number + 1)), start)
        watch = sample_ratio.add_requests(watch, start, requests[tick % _CHUNK], CANARY_PERCENT, DEFAULT_LIMITS)
        holds = watch.holds > 0.0
        first = np.where(holds & np.isinf(first), start + BUCKET_SECONDS, first)
        begun += holds & ~held
        held = holds
    progress(1.0)
    return first, begun


def _shares(traffic: Keys, replicas: int, rng: np.random.Generator) -> FloatArray:
    """Return the canary's share of traffic per replica: its keys are drawn once and stay."""
    weights = rng.lognormal(0.0, traffic.sigma, (replicas, traffic.keys))
    canary = rng.random((replicas, traffic.keys)) < CANARY_PERCENT / 100.0
    return np.asarray((weights * canary).sum(axis=1) / weights.sum(axis=1))


def _requests(traffic: Keys, share: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return requests (ticks, replicas, 2): runs of geometric length, each of one key and so of one arm."""
    runs = rng.poisson(
        REQUESTS_PER_SECOND * BUCKET_SECONDS / traffic.run * np.stack([1.0 - share, share], axis=-1),
        (_CHUNK, len(share), 2),
    )
    more = rng.negative_binomial(np.maximum(runs, 1), 1.0 / traffic.run)
    return np.where(runs > 0, runs + more, 0).astype(np.float64)


def _restart(watch: SplitWatch, weight: float, at: int) -> SplitWatch:
    return msgspec.structs.replace(watch, test=sequential.restart(watch.test, weight, at))
