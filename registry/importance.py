"""Which fields matter to a version in general: its mean absolute impacts, as the controller computes them."""

from datetime import datetime
from typing import Literal

import msgspec
from psycopg.rows import dict_row

from registry.audit import QUERIES
from runtime.postgres import Connection

Events = Literal["background", "traffic"]


class FieldImportance(msgspec.Struct, frozen=True):
    """A field's mean absolute impact, on the scale of its list."""

    field: str
    impact: float


class Importance(msgspec.Struct, frozen=True):
    """The importance of a version's fields over some events, the largest first.

    `events`: those of the background, or a sample of the product's traffic of the week before `computed_at`.
    """

    events: Events
    rows: int
    method: str
    scale: str
    background_sha256: str
    computed_at: datetime
    fields: tuple[FieldImportance, ...]


class VersionImportance(msgspec.Struct, frozen=True):
    """What matters to a version; null until the controller has computed it, minutes after its registration."""

    model_id: str
    background: Importance | None = None
    traffic: Importance | None = None


def importance_of(connection: Connection, model_id: str) -> VersionImportance:
    """Return a version's importance as far as it is known; nothing before migration 003."""
    exists = connection.execute(QUERIES["importance_exists"]).fetchone()
    if not (exists and exists[0]):
        return VersionImportance(model_id)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES["importance"], {"model_id": model_id}).fetchall()
    return VersionImportance(model_id, **{row["events"]: msgspec.convert(row, Importance) for row in rows})
