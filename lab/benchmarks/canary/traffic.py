"""Simulated traffic of many rollouts, as the observations that the judge absorbs.

Ten minutes of production precede each rollout, which starts at 10 % at second 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from canary.judge.evidence import (
    BUCKET_SECONDS,
    HISTORY_PHASE,
    HISTORY_SECONDS,
    LATENCY_BINS,
    SCORE_BINS,
    latency_bin,
    latency_edge,
)
from canary.judge.observation import Observation
from canary.judge.sequential import FloatArray, dispersion

REQUESTS_PER_SECOND = 200.0
CANARY_PERCENT = 10.0
ERROR_RATE = 0.003
LATENCY_MEDIAN_SECONDS = 0.012
LATENCY_SIGMA = 0.45

# No p95 of any case is near these: faster and slower requests are counted in one bin each, to draw fewer numbers.
_FASTEST_BIN = latency_bin(0.015)
_SLOWEST_BIN = latency_bin(0.120)
_BINS = slice(_FASTEST_BIN, _SLOWEST_BIN + 1)

_CHUNK_TICKS = 60
_DAY_CELLS = 24 * 3600 // 30

Counts = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class Traffic:
    """The canary's difference from production; a healthy one has 1 everywhere. Factors apply from the start.

    `burst`: mean errors per burst; bursts of geometric size S have dispersion phi = E[S^2]/E[S] = 2 * burst - 1.
    `paired`: probabilities of (both, canary only, production only, neither) blocking.
    """

    errors: float = 1.0
    latency: float = 1.0
    burst: float = 1.0
    paired: tuple[float, float, float, float] = (0.009, 0.001, 0.001, 0.989)

    @property
    def error_rates(self) -> FloatArray:
        return np.array([ERROR_RATE, min(1.0, ERROR_RATE * self.errors)])


def observe_traffic(traffic: Traffic, replicas: int, ticks: int, rng: np.random.Generator) -> Iterator[Observation]:
    """Yield one observation of all replicas per 5 s tick: the time before, then `ticks` of the step (phase 0).

    Requests are Poisson, and therefore their latency bins are too.
    """
    for first in range(-HISTORY_SECONDS // BUCKET_SECONDS, ticks, _CHUNK_TICKS):
        before = first < 0
        expected = _expected_latency(traffic, 0.0 if before else CANARY_PERCENT)
        chunk = min(_CHUNK_TICKS, ticks - first)
        timed = rng.poisson(expected, size=(chunk, replicas, *expected.shape)).astype(np.int32)
        requests = timed.sum(axis=-1)
        errors = _errors(requests, traffic.error_rates, traffic.burst, rng)
        paired = rng.multinomial(requests[..., 1], traffic.paired)
        for tick in range(chunk):
            latency = np.zeros((replicas, 2, LATENCY_BINS), dtype=np.int32)
            latency[..., _BINS] = timed[tick]
            yield Observation(
                start=(first + tick) * BUCKET_SECONDS,
                phase=HISTORY_PHASE if before else 0,
                requests=requests[tick].astype(np.float64),
                errors=errors[tick].astype(np.float64),
                latency=latency,
                scores=np.zeros((replicas, 2, SCORE_BINS), dtype=np.int64),
                paired=paired[tick],
            )


def count_errors(traffic: Traffic, replicas: int, ticks: int, rng: np.random.Generator) -> tuple[Counts, Counts]:
    """Return requests and errors, (replicas, ticks, 2), of the step alone: all that the usual methods use."""
    per_tick = REQUESTS_PER_SECOND * BUCKET_SECONDS * _shares(CANARY_PERCENT)
    requests = rng.poisson(per_tick, size=(replicas, ticks, 2)).astype(np.int32)
    return requests, _errors(requests, traffic.error_rates, traffic.burst, rng).astype(np.int32)


def estimate_dispersion(traffic: Traffic, replicas: int, rng: np.random.Generator) -> FloatArray | None:
    """Return phi per replica as the controller estimates it, from production's halves of the day before the rollout."""
    if traffic.burst == 1.0:
        return None
    half = REQUESTS_PER_SECOND * 30 / 2
    requests = rng.poisson(half, size=(replicas, _DAY_CELLS, 2))
    errors = _errors(requests, np.array([ERROR_RATE, ERROR_RATE]), traffic.burst, rng)
    cells = np.stack([requests, errors], axis=-1).reshape(replicas, _DAY_CELLS, 4)
    return np.array([dispersion(map(tuple, own)) for own in cells])


def _expected_latency(traffic: Traffic, percent: float) -> FloatArray:
    """Return the expected requests per tick, by arm and by latency bin from the fastest to the slowest."""
    edges = np.array([latency_edge(bin_) for bin_ in range(_FASTEST_BIN, _SLOWEST_BIN)])
    requests = REQUESTS_PER_SECOND * BUCKET_SECONDS * _shares(percent)
    medians = LATENCY_MEDIAN_SECONDS * np.array([1.0, traffic.latency])
    below = norm.cdf((np.log(edges) - np.log(medians)[:, None]) / LATENCY_SIGMA)
    expected: FloatArray = requests[:, None] * np.diff(below, prepend=0.0, append=1.0)
    return expected


def _shares(percent: float) -> FloatArray:
    return np.array([1.0 - percent / 100.0, percent / 100.0])


def _errors(requests: Counts, rates: FloatArray, burst: float, rng: np.random.Generator) -> Counts:
    if burst == 1.0:
        return rng.binomial(requests, rates)
    bursts = rng.poisson(requests * rates / burst)
    # A sum of n geometric sizes is n plus a negative binomial.
    more = rng.negative_binomial(np.maximum(bursts, 1), 1.0 / burst)
    return np.minimum(np.where(bursts > 0, bursts + more, 0), requests)
