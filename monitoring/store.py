"""Production's decisions and the guard's state in Postgres. The caller owns the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

DecisionCounts = tuple[int, int, int]
"""Requests, reviewed, blocked."""


@dataclass(frozen=True, slots=True)
class GuardRow:
    """The guard's state of one product; `totals` by hour as it counted them last."""

    product: str
    counted_at: datetime
    totals: Mapping[str, Sequence[int]]
    wealth: Mapping[str, Sequence[float]]
    firing: Mapping[str, bool]
    ready: bool


class GuardState(NamedTuple):
    """What a product's guard says; `ready`: it has enough history of the present hour."""

    ready: bool
    block_share_jumped: bool
    review_share_jumped: bool


@dataclass(frozen=True, slots=True)
class PastHour:
    """What production decided in a full hour `age` ago."""

    product: str
    age: timedelta
    counts: DecisionCounts


@dataclass(frozen=True, slots=True)
class DecisionCell:
    """What production decided in 30 seconds from `start`, epoch seconds."""

    product: str
    start: int
    counts: DecisionCounts


def guard_exists(connection: Connection) -> bool:
    """Return whether migration 004 has run."""
    return bool(_one(connection, "guard_exists", {})[0])


def lock_guard(connection: Connection) -> tuple[bool, datetime]:
    """Return whether this transaction may count, and the database's clock."""
    locked, now = _one(connection, "lock_guard", {})
    return bool(locked), now


def guard_rows(connection: Connection) -> dict[str, GuardRow]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return {row["product"]: GuardRow(**row) for row in cursor.execute(QUERIES["guard_rows"])}


def guard_of(connection: Connection, product: str) -> GuardState | None:
    row = connection.execute(QUERIES["guard_of"], {"product": product}).fetchone()
    return None if row is None else GuardState(*map(bool, row))


def recent_totals(connection: Connection, now: datetime) -> dict[str, dict[str, DecisionCounts]]:
    """Return by product and hour what production has decided."""
    found: dict[str, dict[str, DecisionCounts]] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(QUERIES["recent_totals"], {"now": now}):
            found.setdefault(row["product"], {})[row["hour"]] = _counts(row)
    return found


def past_hours(connection: Connection, now: datetime, ages: Sequence[timedelta]) -> list[PastHour]:
    """Return what production decided in the full hours that began `ages` before the present one."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    values = {"now": now, "hours": [this_hour - age for age in ages]}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES["past_hours"], values).fetchall()
    return [PastHour(row["product"], row["age"], _counts(row)) for row in rows]


def day_of_cells(connection: Connection, now: datetime) -> list[DecisionCell]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES["day_of_cells"], {"now": now}).fetchall()
    return [DecisionCell(row["product"], row["cell"], _counts(row)) for row in rows]


def store_guard(connection: Connection, row: GuardRow, counted: DecisionCounts) -> None:
    """Store a product's state, and what was decided since the last look."""
    requests, reviewed, blocked = counted
    if requests:
        values = {"requests": requests, "reviewed": reviewed, "blocked": blocked}
        connection.execute(QUERIES["insert_decisions"], {"product": row.product, "now": row.counted_at, **values})
    state = {"totals": Jsonb(row.totals), "wealth": Jsonb(row.wealth), "firing": Jsonb(row.firing)}
    connection.execute(
        QUERIES["store_guard"], {"product": row.product, "now": row.counted_at, "ready": row.ready, **state}
    )


def drop_decisions(connection: Connection) -> int:
    """Delete decisions older than two days; return how many rows."""
    return connection.execute(QUERIES["drop_decisions"]).rowcount


def _counts(row: Mapping[str, Any]) -> DecisionCounts:
    return row["requests"], row["reviewed"], row["blocked"]


def _one(connection: Connection, query: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(QUERIES[query], values).fetchone()
    assert row is not None
    return row
