"""What a tick reads and writes: evidence, what else the judge is told, verdicts, the lease. The caller commits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from psycopg.rows import dict_row

from canary.conditions import Inputs
from canary.decision_checks import LabelCounts
from canary.evidence import ArmBucket, Bucket, Histogram, Paired
from canary.fuse import FuseTrip
from canary.store import QUERIES, StoredRollout, jsonb
from canary.verdict import Verdict
from registry.model_version import Status as ModelStatus
from runtime.postgres import Connection


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand around a rollout. `now`: Postgres's clock, epoch seconds; the only clock of a tick.

    `production_now`: the product's production version, which someone may have changed; None when there is none.
    """

    now: float
    canary_status: ModelStatus
    production_now: str | None
    labels: LabelCounts | None
    fuse_trips: tuple[FuseTrip, ...]


@dataclass(frozen=True, slots=True)
class PhasedBucket:
    """A bucket, and the percentage of its phase."""

    bucket: Bucket
    percent: float


def take_lease(connection: Connection, holder: str, *, stale_seconds: float) -> bool:
    """Whether `holder` is the controller that acts: it was, or the one before has not acted for `stale_seconds`."""
    values = {"holder": holder, "stale_seconds": stale_seconds}
    return connection.execute(QUERIES["take_lease"], values).fetchone() is not None


def lock_evidence(connection: Connection, rollout_id: str) -> None:
    """To the end of the transaction no shipment adds to this rollout's evidence. Taken before its row is locked."""
    connection.execute(QUERIES["lock_evidence"], {"rollout_id": rollout_id})


def standing(connection: Connection, rollout_id: str) -> Standing:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(QUERIES["standing"], {"rollout_id": rollout_id}).fetchone()
    assert row is not None
    labels = LabelCounts(row["events"], row["matured"], _paired(row))
    return Standing(
        now=row["now"],
        canary_status=ModelStatus(row["canary_status"]),
        production_now=row["production_now"],
        labels=labels if labels.events else None,
        fuse_trips=msgspec.convert(row["fuse_trips"], tuple[FuseTrip, ...]),
    )


def buckets(connection: Connection, rollout_id: str, *, first: float, through: float) -> list[PhasedBucket]:
    """Buckets that start in [first, through), epoch seconds, in the order the judge absorbs them."""
    span = {"rollout_id": rollout_id, "first": first, "through": through}
    found: dict[tuple[int, int], dict[str, Any]] = {}
    percents: dict[int, float] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(QUERIES["arm_evidence"], span):
            found.setdefault((row["start"], row["phase"]), {})[row["arm"]] = _arm(row)
            percents[row["phase"]] = row["percent"]
        for row in cursor.execute(QUERIES["paired_evidence"], span):
            found.setdefault((row["start"], row["phase"]), {})["paired"] = _paired(row)
            percents[row["phase"]] = row["percent"]
    return [
        PhasedBucket(Bucket(start, phase, **counts), percents[phase])
        for (start, phase), counts in sorted(found.items(), key=lambda item: item[0])
    ]


def production_error_cells(connection: Connection, product: str, now: float) -> list[tuple[int, int, int, int]]:
    """(requests, errors) of production's two halves, a cell per 30 s of the last day."""
    return connection.execute(QUERIES["production_error_cells"], {"product": product, "now": now}).fetchall()


def set_dispersion(connection: Connection, rollout_id: str, dispersion: float | None) -> None:
    connection.execute(QUERIES["set_dispersion"], {"rollout_id": rollout_id, "dispersion": dispersion})


def seal(connection: Connection, rollout_id: str, *, through: float, judge_state: str | None) -> None:
    """From here on evidence before `through` is judged, and what comes late counts after it."""
    values = {"rollout_id": rollout_id, "through": through, "judge_state": judge_state}
    connection.execute(QUERIES["seal"], values)


def insert_verdict(
    connection: Connection, rollout: StoredRollout, verdict: Verdict, action: str, inputs: Inputs, *, through: float
) -> None:
    """`rollout` as it was when judged; `through`: the end of what it is judged on, epoch seconds."""
    values = {
        "rollout_id": rollout.rollout_id,
        "phase": rollout.phase,
        "verdict": verdict.kind,
        "action": action,
        "reasons": jsonb(verdict.reasons),
        "measurements": jsonb(verdict.measurements),
        "inputs": jsonb(inputs),
        "dispersion": rollout.dispersion,
        "evidence_from": rollout.sealed_through.timestamp(),
        "evidence_through": through,
        "judged_at": inputs.now,
    }
    connection.execute(QUERIES["insert_verdict"], values)


def _arm(row: Mapping[str, Any]) -> ArmBucket:
    return ArmBucket(
        requests=row["requests"],
        errors=row["errors"],
        timeouts=row["timeouts"],
        latency=_histogram(row["latency"]),
        allow=row["allowed"],
        review=row["reviewed"],
        block=row["blocked"],
        scores=_histogram(row["scores"]),
    )


def _histogram(counts: Mapping[str, int]) -> Histogram:
    return {int(bin_): n for bin_, n in counts.items()}


def _paired(row: Mapping[str, Any]) -> Paired:
    return Paired(row["n11"], row["n10"], row["n01"], row["n00"])
