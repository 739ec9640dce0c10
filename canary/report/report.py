"""The case for or against promotion, from a rollout's evidence, pairs, labels and verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from psycopg.rows import class_row, dict_row

from canary.judge.drift import population_stability_index
from canary.judge.evidence import BUCKET_SECONDS, LATENCY_BINS, SCORE_BINS, latency_edge
from canary.judge.latency import P95, quantile_bin
from canary.judge.sequential import IntArray
from canary.labels.store import LabelOutcome, label_outcomes
from canary.report.flips import MAX_EXPLAINED, FlippedPayload, FlipReasons
from canary.rollout import store
from canary.rollout.description import CanaryDescription, description
from canary.rollout.store import Phase, StoredRollout
from canary.rollout.verdicts import latest_verdict
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
class Flip:
    """Events on which the models decide differently. `amount`: the sum over the `amounts` payloads that have one."""

    production_decision: str
    canary_decision: str
    events: int
    amounts: int
    amount: float


@dataclass(frozen=True, slots=True)
class FlippedEvent:
    event_id: str
    amount: float | None
    production_decision: str
    canary_decision: str
    production_score: float
    canary_score: float
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Decisions:
    """`events`: scored by both models; `flips`: those that the models decided differently."""

    events: int
    flips: int
    by_kind: tuple[Flip, ...]
    largest: tuple[FlippedEvent, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """Counts in 20 equal bins of [0, 1] by arm; `psi` None while an arm has none."""

    counts: Mapping[str, tuple[int, ...]]
    psi: float | None


@dataclass(frozen=True, slots=True)
class Labels:
    """Outcomes by decision pair, and the share of labelled legitimate events that each model blocks."""

    outcomes: tuple[LabelOutcome, ...]
    legitimate: int
    false_positive_rate: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class VerdictRun:
    """Consecutive ticks with the same verdict and action."""

    phase: int
    verdict: str
    action: str
    ticks: int
    first: datetime
    last: datetime
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rollback:
    created_at: datetime
    reason: str
    rolled_back_by: str


@dataclass(frozen=True, slots=True)
class Report:
    """The case for or against promotion of a rollout. `flip_reasons`: None without flips, and on the command line."""

    made_at: datetime
    rollout: CanaryDescription
    phases: tuple[Phase, ...]
    totals: tuple[ArmTotal, ...]
    latency: Mapping[str, Latency]
    course: TimeSeries
    decisions: Decisions
    scores: Scores
    labels: Labels
    verdicts: tuple[VerdictRun, ...]
    rollbacks: tuple[Rollback, ...]
    flip_reasons: FlipReasons | None = None

    def to_json(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]


def make_report(connection: Connection, rollout: StoredRollout) -> Report:
    """Compute the report in the caller's transaction."""
    # Enough to sort a week of buckets in memory; sorting on disk took twice as long.
    connection.execute("SET LOCAL work_mem = '64MB'")
    verdict = latest_verdict(connection, rollout.rollout_id)
    totals = tuple(_rows(connection, ArmTotal, "phase_totals", rollout))
    course, latency, scores = _histograms(connection, rollout.rollout_id, totals)
    return Report(
        made_at=datetime.now(UTC),
        rollout=description(rollout, verdict),
        phases=tuple(store.phases(connection, rollout.rollout_id)),
        totals=totals,
        latency=latency,
        course=course,
        decisions=paired_decisions(connection, rollout),
        scores=scores,
        labels=_labels(label_outcomes(connection, rollout.rollout_id)),
        verdicts=tuple(_rows(connection, VerdictRun, "verdict_runs", rollout)),
        rollbacks=tuple(_rows(connection, Rollback, "rollbacks", rollout)),
    )


def flipped_payloads(connection: Connection, rollout: StoredRollout) -> list[FlippedPayload]:
    """Return a random sample of the events that the models decide differently."""
    return _rows(connection, FlippedPayload, "flipped_payloads", rollout)


def _rows(connection: Connection, kind: type[Any], query: str, rollout: StoredRollout) -> list[Any]:
    values = {
        "rollout_id": rollout.rollout_id,
        "canary_model_id": rollout.canary_model_id,
        "since": rollout.created_at,
        "max_explained": MAX_EXPLAINED,
    }
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(QUERIES[query], values).fetchall()


def _histograms(
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
    errors = {
        arm: tuple(_share(counts[i, slot, 1], counts[i, slot, 0]) for slot in slots) for i, arm in enumerate(ARMS)
    }
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


def paired_decisions(connection: Connection, rollout: StoredRollout) -> Decisions:
    """Return what both models decided, with the flips and the largest amounts among them."""
    row = connection.execute(QUERIES["paired_totals"], {"rollout_id": rollout.rollout_id}).fetchone()
    assert row is not None
    by_kind = tuple(_rows(connection, Flip, "flips", rollout))
    return Decisions(row[0], row[1], by_kind, tuple(_rows(connection, FlippedEvent, "largest_flips", rollout)))


def _labels(outcomes: Sequence[LabelOutcome]) -> Labels:
    legitimate = sum(outcome.legitimate for outcome in outcomes)
    blocked = {arm: sum(o.legitimate for o in outcomes if getattr(o, f"{arm}_decision") == "block") for arm in ARMS}
    return Labels(tuple(outcomes), legitimate, {arm: _share(blocked[arm], legitimate) for arm in ARMS})


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
