"""The prediction log in Postgres. The caller owns the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from runtime.postgres import Connection
from runtime.queries import load_queries
from scoring.spool_file import Target

# Batches given to COPY at a time: each time it looks whether Postgres has something to say.
TOGETHER = 32
QUERIES = load_queries(Path(__file__).parent / "queries.sql")


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """A row of sira_predictions with all that recomputing it needs."""

    prediction_id: str
    created_at: datetime
    product: str
    event_id: str
    routing_key: str
    payload: str
    payload_sha256: str
    model_id: str
    model_version: str
    artifact_sha256: str
    runtime_version: str
    score: float | None
    decision: str | None
    review_threshold: float
    block_threshold: float
    variant: str
    arm: str
    rollout_id: str | None
    phase: int | None
    cached: bool
    latency_seconds: float
    model_seconds: float | None
    outcome: str

    def to_json(self) -> dict[str, Any]:
        """Plain values; `payload` as the canonical JSON it is, byte for byte."""
        return {**msgspec.to_builtins(self), "payload": msgspec.Raw(self.payload.encode())}


@dataclass(frozen=True, slots=True)
class Shipment:
    """Rows that were new to Postgres; those it already had are not counted twice."""

    predictions: int
    paired: int


def prepare_shipping(connection: Connection) -> None:
    """Make a connection fit for `ship`: its staging tables, and plans that look rows up instead of reading days."""
    connection.execute(QUERIES["stage"])
    connection.execute("SET enable_hashjoin = off")
    connection.execute("SET enable_mergejoin = off")


def ship(connection: Connection, lines: Mapping[Target, Sequence[bytes]]) -> Shipment:
    """Write COPY lines by table, with the evidence they add to, in the caller's transaction. Safe to repeat."""
    for target, bodies in lines.items():
        with connection.cursor().copy(f"COPY staged_{target} FROM STDIN") as copy:
            for first in range(0, len(bodies), TOGETHER):
                copy.write(b"".join(bodies[first : first + TOGETHER]))
    # Held to the end of the transaction: the next statements see where evidence is sealed, and it stays there.
    connection.execute(QUERIES["lock_rollouts"])
    predictions = connection.execute(QUERIES["ship_predictions"]).fetchone()
    paired = connection.execute(QUERIES["ship_paired"]).fetchone() if "paired" in lines else (0,)
    if "trips" in lines:
        connection.execute(QUERIES["ship_fuse_trips"])
    assert predictions is not None
    assert paired is not None
    return Shipment(predictions[0], paired[0])


def find_prediction(connection: Connection, prediction_id: str) -> StoredPrediction | None:
    """None for an id that is not there, text that is no UUID included."""
    try:
        identity = UUID(prediction_id)
    except ValueError:
        return None
    with connection.cursor(row_factory=class_row(StoredPrediction)) as cursor:
        return cursor.execute(QUERIES["find_prediction"], {"prediction_id": identity}).fetchone()


@dataclass(frozen=True, slots=True)
class RunningRollout:
    """A rollout as the serving side reads it. `unjudged_seconds`: since it was judged, or began."""

    rollout_id: str
    product: str
    canary_model_id: str
    phase: int
    canary_percent: float
    limits: dict[str, Any]
    unjudged_seconds: float


def running_rollouts(connection: Connection) -> list[RunningRollout]:
    with connection.cursor(row_factory=class_row(RunningRollout)) as cursor:
        return cursor.execute(QUERIES["running_rollouts"]).fetchall()
