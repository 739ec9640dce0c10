"""The prediction log in Postgres. The caller owns the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from psycopg.rows import dict_row

from runtime.postgres import Connection
from runtime.queries import load_queries
from scoring.log.frame import Target
from scoring.log.prediction import Prediction

# Batches per copy.write(); each write also polls the socket.
BATCHES_PER_WRITE = 32
QUERIES = load_queries(Path(__file__).parent / "queries.sql")
_SHIP_CONTROLLED = (
    QUERIES["ship_predictions"]
    .replace("/*propensity*/", ", propensity")
    .replace("/*control_days*/", QUERIES["control_days"])
)
_STAGED: dict[Target, str] = {
    "predictions": f"staged_predictions ({', '.join(Prediction.__struct_fields__)})",
    "controlled": "staged_predictions",
}


# Canonical JSON, byte for byte.
CanonicalPayload = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """A row of sira_predictions, with everything that is needed to recompute it.

    `propensity`: null unless a control group was on and the model wanted to block the event; then the probability with
    which it was let through.
    """

    prediction_id: str
    created_at: datetime
    product: str
    event_id: str
    routing_key: str
    payload: CanonicalPayload
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
    propensity: float | None = None


HourOfProduct = tuple[str, int]
"""A product and the start of an hour, in unix seconds."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """The numbers of rows that were new to Postgres; `hours`: predictions by product and hour."""

    hours: dict[HourOfProduct, int]
    paired: int

    @property
    def predictions(self) -> int:
        return sum(self.hours.values())


def prepare_shipping(connection: Connection) -> None:
    """Create the staging tables of a connection, and disable plans that read whole days instead of looking rows up."""
    connection.execute(QUERIES["stage"])
    connection.execute("SET enable_hashjoin = off")
    connection.execute("SET enable_mergejoin = off")


def stage(connection: Connection, target: Target, bodies: Sequence[bytes]) -> None:
    """Copy lines to the staging table of their target."""
    with connection.cursor().copy(f"COPY {_STAGED.get(target, f'staged_{target}')} FROM STDIN") as copy:
        for first in range(0, len(bodies), BATCHES_PER_WRITE):
            copy.write(b"".join(bodies[first : first + BATCHES_PER_WRITE]))


def ship(connection: Connection, lines: Mapping[Target, Sequence[bytes]]) -> Shipment:
    """Write COPY lines by table and add them to the evidence, in the caller's transaction. Safe to repeat."""
    for target, bodies in lines.items():
        stage(connection, target, bodies)
    # Held until the end of the transaction, so that the next statements see up to where evidence is sealed.
    connection.execute(QUERIES["lock_rollouts"])
    controlled = "controlled" in lines and _propensity_exists(connection)
    statement = _SHIP_CONTROLLED if controlled else QUERIES["ship_predictions"]
    predictions = connection.execute(statement).fetchall()
    paired = connection.execute(QUERIES["ship_paired"]).fetchone() if "paired" in lines else (0,)
    if "trips" in lines:
        connection.execute(QUERIES["ship_fuse_trips"])
    if "reasons" in lines:
        connection.execute(QUERIES["ship_reasons"])
    assert paired is not None
    return Shipment({(product, hour): rows for product, hour, rows in predictions}, paired[0])


def _propensity_exists(connection: Connection) -> bool:
    """Return whether migration 012 has run. Without it, the rows are kept and their propensities are not."""
    row = connection.execute(QUERIES["propensity_exists"]).fetchone()
    return row is not None and bool(row[0])


def shipped_hours_exist(connection: Connection) -> bool:
    """Return whether the database can hold what workers report as shipped (migration 007)."""
    row = connection.execute(QUERIES["shipped_hours_exist"]).fetchone()
    return row is not None and bool(row[0])


def report_shipped(connection: Connection, spool_id: str, hours: Mapping[HourOfProduct, int]) -> None:
    """Store how many predictions a spool has shipped."""
    values = {
        "spool": spool_id,
        "products": [product for product, _ in hours],
        "hours": [hour for _, hour in hours],
        "rows": list(hours.values()),
    }
    connection.execute(QUERIES["report_shipped"], values)


def find_prediction(connection: Connection, prediction_id: str) -> StoredPrediction | None:
    """Return a prediction; None for an unknown id, and for text that is not a UUID."""
    try:
        identity = UUID(prediction_id)
    except ValueError:
        return None
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(QUERIES["find_prediction"], {"prediction_id": identity}).fetchone()
    return None if row is None else StoredPrediction(**{**row, "payload": msgspec.Raw(row["payload"].encode())})
