"""What a tick reads and writes: evidence, the judge's other inputs, verdicts, the lease. The caller commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from psycopg.rows import dict_row

from canary.fuse import FuseTrip
from canary.judge.decision_rules import LabelCounts
from canary.judge.evidence import ArmBucket, Bucket, Histogram, Paired
from canary.judge.safety_rules import JudgeInputs
from canary.judge.verdict import Verdict
from canary.labels.store import known_frauds
from canary.rollout.next_action import ACTION_NAMES, Action
from canary.rollout.store import Seal, StoredRollout, jsonb, seal
from registry.model_version import Status as ModelStatus
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True, slots=True)
class RolloutContext:
    """The surroundings of a rollout. `now`: Postgres's clock in epoch seconds, the only clock of a tick.

    `production_now`: the product's production version, which may have changed; None when there is none.
    """

    now: float
    canary_status: ModelStatus
    production_now: str | None
    labels: LabelCounts | None
    fuse_trips: tuple[FuseTrip, ...]


@dataclass(frozen=True, slots=True)
class PhasedBucket:
    """A bucket and the percentage of its phase."""

    bucket: Bucket
    percent: float


@dataclass(frozen=True, slots=True)
class Span:
    """Buckets of a rollout that start in [first, through), epoch seconds."""

    rollout_id: str
    first: float
    through: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """One rollout judged: the verdict on the evidence of `span`, and the action that follows from it.

    `state` is the judge's state after the span, as it is stored; None before the first bucket.
    """

    rollout: StoredRollout
    span: Span
    state: str | None
    inputs: JudgeInputs
    verdict: Verdict
    action: Action


def take_lease(connection: Connection, holder: str, *, stale_seconds: float) -> bool:
    """Return whether `holder` has the lease: it had it before, or nobody has acted for `stale_seconds`."""
    values = {"holder": holder, "stale_seconds": stale_seconds}
    return connection.execute(QUERIES["take_lease"], values).fetchone() is not None


def lock_evidence(connection: Connection, rollout_ids: Sequence[str]) -> None:
    """Block shipments to this evidence until the transaction ends. Lock it before the rollouts' rows."""
    connection.execute(QUERIES["lock_evidence"], {"rollout_ids": list(rollout_ids)})


def contexts(connection: Connection, rollout_ids: Sequence[str]) -> dict[str, RolloutContext]:
    """Return the context of each rollout, by rollout_id."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES["contexts"], {"rollout_ids": list(rollout_ids)}).fetchall()
    frauds = known_frauds(connection, rollout_ids)
    return {row["rollout_id"]: _context(row, frauds.get(row["rollout_id"])) for row in rows}


def buckets(connection: Connection, spans: Sequence[Span]) -> dict[str, list[PhasedBucket]]:
    """Return by rollout_id the buckets that start in its span, in the order in which the judge absorbs them."""
    values = {
        "rollout_ids": [span.rollout_id for span in spans],
        "firsts": [span.first for span in spans],
        "throughs": [span.through for span in spans],
    }
    counts_of: dict[tuple[str, int, int], dict[str, Any]] = {}
    percents: dict[tuple[str, int], float] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for query, of_row in (("arm_evidence", _arm), ("paired_evidence", _pairs)):
            for row in cursor.execute(QUERIES[query], values):
                rollout_id, phase = row["rollout_id"], row["phase"]
                counts_of.setdefault((rollout_id, row["start"], phase), {}).update(of_row(row))
                percents[rollout_id, phase] = row["percent"]
    sealed: dict[str, list[PhasedBucket]] = {span.rollout_id: [] for span in spans}
    for (rollout_id, start, phase), counts in sorted(counts_of.items(), key=lambda item: item[0]):
        sealed[rollout_id].append(PhasedBucket(Bucket(start, phase, **counts), percents[rollout_id, phase]))
    return sealed


def production_error_cells(connection: Connection, product: str, now: float) -> list[tuple[int, int, int, int]]:
    """Return (requests, errors) of production's two halves, one cell per 30 s of the last day."""
    return connection.execute(QUERIES["production_error_cells"], {"product": product, "now": now}).fetchall()


def store_judgements(connection: Connection, judgements: Sequence[Judgement]) -> None:
    """Store each verdict, and seal the evidence that it was judged on."""
    verdicts = [_verdict_row(judgement) for judgement in judgements]
    connection.execute(QUERIES["insert_verdicts"], {"verdicts": jsonb(verdicts)})
    seal(connection, [Seal(one.rollout.rollout_id, one.span.through, one.state) for one in judgements])


def _verdict_row(judgement: Judgement) -> dict[str, Any]:
    rollout, verdict = judgement.rollout, judgement.verdict
    return {
        "rollout_id": rollout.rollout_id,
        "phase": rollout.phase,
        "verdict": verdict.kind,
        "action": ACTION_NAMES[type(judgement.action)],
        "reasons": verdict.reasons,
        "measurements": verdict.measurements,
        "inputs": judgement.inputs,
        "dispersion": rollout.dispersion,
        "evidence_from": judgement.span.first,
        "evidence_through": judgement.span.through,
        "judged_at": judgement.inputs.now,
    }


def _context(row: Mapping[str, Any], frauds: tuple[int, int, int, int] | None) -> RolloutContext:
    labels = LabelCounts(row["events"], row["matured"], _paired(row), Paired(*frauds) if frauds else None)
    return RolloutContext(
        now=row["now"],
        canary_status=ModelStatus(row["canary_status"]),
        production_now=row["production_now"],
        labels=labels if labels.events else None,
        fuse_trips=msgspec.convert(row["fuse_trips"], tuple[FuseTrip, ...]),
    )


def _arm(row: Mapping[str, Any]) -> dict[str, ArmBucket]:
    counts = ArmBucket(
        requests=row["requests"],
        errors=row["errors"],
        timeouts=row["timeouts"],
        latency=_histogram(row["latency"]),
        allow=row["allowed"],
        review=row["reviewed"],
        block=row["blocked"],
        scores=_histogram(row["scores"]),
    )
    return {row["arm"]: counts}


def _pairs(row: Mapping[str, Any]) -> dict[str, Paired]:
    return {"paired": _paired(row)}


def _histogram(counts: Mapping[str, int]) -> Histogram:
    return {int(bin_): n for bin_, n in counts.items()}


def _paired(row: Mapping[str, Any]) -> Paired:
    return Paired(row["n11"], row["n10"], row["n01"], row["n00"])
