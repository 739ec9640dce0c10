"""The rollouts, breakers and control groups that a worker follows. The caller owns the transaction."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from psycopg.rows import class_row

from runtime.postgres import Connection
from runtime.queries import load_queries
from scoring.control_group import RunningControlGroup

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True, slots=True)
class RunningRollout:
    """A rollout as the serving side reads it. `unjudged_seconds` is the time since it was judged or started."""

    rollout_id: str
    product: str
    canary_model_id: str
    phase: int
    canary_percent: float
    limits: dict[str, Any]
    unjudged_seconds: float


def tripped_breakers(connection: Connection) -> frozenset[str]:
    """Return the products whose blocks become reviews; none before migration 006."""
    exists = connection.execute(QUERIES["breaker_exists"]).fetchone()
    if not exists or not exists[0]:
        return frozenset()
    return frozenset(row[0] for row in connection.execute(QUERIES["tripped_breakers"]))


def running_rollouts(connection: Connection) -> list[RunningRollout]:
    """Return every running or paused rollout."""
    with connection.cursor(row_factory=class_row(RunningRollout)) as cursor:
        return cursor.execute(QUERIES["running_rollouts"]).fetchall()


def control_groups(connection: Connection) -> tuple[RunningControlGroup, ...]:
    """Return the control groups that are on; none before migration 012."""
    exists = connection.execute(QUERIES["control_groups_exist"]).fetchone()
    if not exists or not exists[0]:
        return ()
    with connection.cursor(row_factory=class_row(RunningControlGroup)) as cursor:
        return tuple(cursor.execute(QUERIES["control_groups"]).fetchall())


def take_slots(connection: Connection, product: str, day: date, wanted: int) -> int:
    """Take at most `wanted` of a day's slots and return how many; 0 when they are used up, or the group is off."""
    values = {"product": product, "day": day}
    with connection.transaction():
        connection.execute(QUERIES["open_day"], values)
        row = connection.execute(QUERIES["lock_slots"], values).fetchone()
        taken = min(wanted, row[0]) if row else 0
        connection.execute(QUERIES["take_slots"], {**values, "slots": taken})
    return taken


def return_slots(connection: Connection, product: str, day: date, slots: int) -> None:
    """Give back slots that were taken and not used."""
    connection.execute(QUERIES["take_slots"], {"product": product, "day": day, "slots": -slots})
