"""A rollout over time, from its evidence: errors and p95 of each arm, and its latency and scores as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from psycopg.rows import dict_row

from canary.judge.drift import population_stability_index
from canary.judge.evidence import BUCKET_SECONDS, LATENCY_BINS, SCORE_BINS, latency_edge
from canary.judge.latency import P95, quantile_bin
from canary.judge.sequential import IntArray
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

ARMS = ("production", "canary")
SLOTS = 120
# Read the histograms of at most this many buckets, and of enough buckets for this many requests per arm and slot:
# reading more would take seconds and would not change a visible figure.
_MAX_BUCKETS = 6_000
_MAX_REQUESTS_PER_SLOT = 2_000


@dataclass(frozen=True, slots=True)
class ArmTotal:
    """Counts of one arm in one phase. For each of the canary's `errors`, production has answered instead."""

    phase: int
    arm: str
    requests: int
    errors: int
    timeouts: int
    allowed: int
    reviewed: int
    blocked: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of model scoring, as upper edges of bins that are 2 % wide; None without samples."""

    samples: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """Figures over time. `times`: starts of slots; error rates and p95 in seconds by arm, None without data."""

    times: tuple[datetime, ...]
    errors: Mapping[str, tuple[float | None, ...]]
    p95: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True, slots=True)
class Scores:
    """Counts in 20 equal bins of [0, 1] by arm; `psi` None while an arm has none."""

    counts: Mapping[str, tuple[int, ...]]
    psi: float | None


def rollout_course(
    connection: Connection, rollout_id: str, totals: Sequence[ArmTotal]
) -> tuple[TimeSeries, dict[str, Latency], Scores]:
    """Read the figures over time, and the latency and scores of the whole rollout."""
    counts = np.zeros((2, SLOTS, 2))
    latency = np.zeros((2, SLOTS, LATENCY_BINS), dtype=np.int64)
    scores = np.zeros((2, SCORE_BINS), dtype=np.int64)
    times: tuple[datetime, ...] = ()
    with connection.cursor(row_factory=dict_row) as cursor:
        span = cursor.execute(QUERIES["evidence_span"], {"rollout_id": rollout_id}).fetchone()
        assert span is not None
        if span["first"] is not None:
            buckets = (span["last"] - span["first"]) // BUCKET_SECONDS + 1
            width = -(-buckets // SLOTS) * BUCKET_SECONDS
            values = {"rollout_id": rollout_id, **span, "width": width}
            values["step"] = _stride(buckets, totals) * BUCKET_SECONDS
            times = tuple(datetime.fromtimestamp(at, UTC) for at in range(span["first"], span["last"] + 1, width))
            for row in cursor.execute(QUERIES["slot_counts"], values):
                counts[ARMS.index(row["arm"]), row["slot"]] = row["requests"], row["errors"]
            for row in cursor.execute(QUERIES["slot_latency"], values):
                latency[ARMS.index(row["arm"]), row["slot"], row["bin"]] = row["count"]
            for row in cursor.execute(QUERIES["score_counts"], values):
                scores[ARMS.index(row["arm"]), row["bin"]] = row["count"]
    slots = range(len(times))
    errors = {arm: tuple(share(counts[i, slot, 1], counts[i, slot, 0]) for slot in slots) for i, arm in enumerate(ARMS)}
    p95 = {arm: tuple(_quantile(latency[i, slot], P95) for slot in slots) for i, arm in enumerate(ARMS)}
    psi = population_stability_index(scores) if scores.sum(axis=-1).all() else None
    return (
        TimeSeries(times, errors, p95),
        {arm: _latency(latency[i].sum(axis=0)) for i, arm in enumerate(ARMS)},
        Scores({arm: tuple(scores[i].tolist()) for i, arm in enumerate(ARMS)}, psi),
    )


def _stride(buckets: int, totals: Sequence[ArmTotal]) -> int:
    """Return the sampling stride: one bucket in this many is read."""
    requests = min(sum(total.requests for total in totals if total.arm == arm) for arm in ARMS)
    return max(1, buckets // _MAX_BUCKETS, requests // (SLOTS * _MAX_REQUESTS_PER_SLOT))


def _latency(histogram: IntArray) -> Latency:
    p50, p95, p99 = (_quantile(histogram, q) for q in (0.5, P95, 0.99))
    return Latency(int(histogram.sum()), p50, p95, p99)


def _quantile(histogram: IntArray, quantile: float) -> float | None:
    """Return the quantile in seconds; None for an empty histogram and above 10 s."""
    if not histogram.any():
        return None
    edge = latency_edge(int(quantile_bin(histogram, quantile)))
    return edge if np.isfinite(edge) else None


def share(part: float, whole: float) -> float | None:
    """Return the share; None of nothing."""
    return float(part / whole) if whole else None
