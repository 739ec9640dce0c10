"""The rollouts that a worker routes. The caller owns the transaction."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.rows import class_row

from runtime.postgres import Connection
from runtime.queries import load_queries

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
