"""The verdicts that were stored of a rollout. Every function runs in the caller's transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from psycopg.rows import dict_row

from canary.judge.measurement import Measurement
from canary.judge.verdict import VerdictKind
from canary.rollout.store import QUERIES
from runtime.postgres import Connection


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """A row of sira_canary_verdicts. Together with its buckets it is enough to recompute the verdict.

    `inputs` are `safety_rules.JudgeInputs` as JSON. Its buckets were absorbed with `dispersion`.
    """

    tick: int
    phase: int
    verdict: VerdictKind
    action: str
    reasons: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    inputs: Mapping[str, Any]
    dispersion: float | None
    evidence_from: datetime
    evidence_through: datetime
    judged_at: datetime


def latest_verdict(connection: Connection, rollout_id: str) -> StoredVerdict | None:
    return next(iter(_verdicts(connection, "latest_verdict", rollout_id)), None)


def verdicts(connection: Connection, rollout_id: str) -> list[StoredVerdict]:
    """Return the stored verdicts, oldest first. Verdicts that repeat the one before are deleted after an hour."""
    return _verdicts(connection, "verdicts", rollout_id)


def _verdicts(connection: Connection, query: str, rollout_id: str) -> list[StoredVerdict]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES[query], {"rollout_id": rollout_id}).fetchall()
    return [_verdict(row) for row in rows]


def _verdict(row: Mapping[str, Any]) -> StoredVerdict:
    columns = {name: row[name] for name in StoredVerdict.__slots__}
    measurements = msgspec.convert(row["measurements"], tuple[Measurement, ...])
    return StoredVerdict(**{**columns, "reasons": tuple(row["reasons"]), "measurements": measurements})
