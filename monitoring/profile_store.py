"""The input profile in Postgres. The caller owns the transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import msgspec
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from monitoring.profile import FieldBaseline, FieldCounts, LoggedPayload
from monitoring.store import QUERIES
from runtime.postgres import Connection

BaselineSource = Literal["reference", "log"]
Profile = dict[datetime, dict[str, FieldCounts]]
"""Counts by hour and field."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is normal for the fields of a version."""

    source: BaselineSource
    fields: Mapping[str, FieldBaseline]
    made_at: datetime


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """A row's ctid (its block, and its place there) in a day's partition; new rows always have a larger one."""

    day: date
    block: int
    place: int

    @classmethod
    def read(cls, day: date, row: str) -> "LogPosition":
        block, _, place = row.strip("()").partition(",")
        return cls(day, int(block), int(place))

    def __str__(self) -> str:
        return f"({self.block},{self.place})"


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    position: LogPosition
    hour: datetime
    product: str
    model_id: str
    payload: LoggedPayload


def profiles_exist(connection: Connection) -> bool:
    """Return whether migration 005 has run."""
    return bool(_one(connection, "profiles_exist")[0])


def lock_profiles(connection: Connection) -> tuple[bool, datetime]:
    """Return whether this transaction may count, and the database's clock."""
    locked, now = _one(connection, "lock_profiles")
    return bool(locked), now


def position(connection: Connection) -> LogPosition | None:
    row = connection.execute(QUERIES["profile_position"]).fetchone()
    return None if row is None else LogPosition.read(row[0], row[1])


def store_position(connection: Connection, reached: LogPosition) -> None:
    connection.execute(QUERIES["store_profile_position"], {"day": reached.day, "row": str(reached)})


def log_blocks(connection: Connection, day: date) -> int:
    """Return the size of a day's partition in blocks."""
    return int(_one(connection, "log_blocks", {"day": day})[0] or 0)


def events_between(connection: Connection, after: LogPosition, end: int) -> list[LoggedEvent]:
    """Return the events of that day's partition behind a position and before the block `end`, in their order there."""
    values = {"day": after.day, "after": str(after), "end": str(LogPosition(after.day, end, 0))}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES["logged_events"], values).fetchall()
    return [
        LoggedEvent(
            LogPosition.read(after.day, row["row"]),
            row["hour"],
            row["product"],
            row["model_id"],
            _decode(row["payload"]),
        )
        for row in rows
    ]


def first_full_day(connection: Connection, model_id: str) -> tuple[date, int] | None:
    """Return the first whole day on which a version answered, and the number of its events then."""
    row = connection.execute(QUERIES["first_full_day"], {"model_id": model_id}).fetchone()
    return None if row is None else (row[0], row[1])


def sampled_events(connection: Connection, model_id: str, day: date, percent: float) -> list[LoggedPayload]:
    values = {"model_id": model_id, "day": day, "percent": percent}
    return [_decode(text) for (text,) in connection.execute(QUERIES["sampled_events"], values)]


def baseline(connection: Connection, model_id: str) -> Baseline | None:
    row = connection.execute(QUERIES["baseline"], {"model_id": model_id}).fetchone()
    if row is None:
        return None
    return Baseline(row[0], msgspec.convert(row[1], dict[str, FieldBaseline]), row[2])


def insert_baseline(
    connection: Connection, model_id: str, source: BaselineSource, fields: Mapping[str, FieldBaseline]
) -> None:
    values = {"model_id": model_id, "source": source, "fields": Jsonb(msgspec.to_builtins(fields))}
    connection.execute(QUERIES["insert_baseline"], values)


def profile(connection: Connection, product: str, model_id: str, since: datetime) -> Profile:
    """Return a version's counts of the hours from `since` on."""
    found: Profile = {}
    values = {"product": product, "model_id": model_id, "since": since}
    for field, hour, counts in connection.execute(QUERIES["profile"], values):
        found.setdefault(hour, {})[field] = msgspec.convert(counts, FieldCounts)
    return found


def add_counts(
    connection: Connection, product: str, model_id: str, hour: datetime, counts: Mapping[str, FieldCounts]
) -> None:
    """Add to the counts of an hour. Only the holder of the lock may."""
    before = profile(connection, product, model_id, hour).get(hour, {})
    values = [
        {
            "product": product,
            "model_id": model_id,
            "hour": hour,
            "field": name,
            "counts": Jsonb(msgspec.to_builtins(before.get(name, FieldCounts()) + added)),
        }
        for name, added in counts.items()
    ]
    with connection.cursor() as cursor:
        cursor.executemany(QUERIES["store_profile"], values)


def drop_profiles(connection: Connection) -> int:
    """Delete counts older than 90 days; return how many rows."""
    return connection.execute(QUERIES["drop_profiles"]).rowcount if profiles_exist(connection) else 0


def _one(connection: Connection, query: str, values: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(QUERIES[query], values).fetchone()
    assert row is not None
    return row
