"""What the pages of rollouts read. The caller owns the transaction."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg.rows import class_row

from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests per second over two minutes; `canary` is 0 without a live rollout."""

    production: float
    canary: float

    @property
    def total(self) -> float:
        return self.production + self.canary


@dataclass(frozen=True, slots=True)
class RollbackEntry:
    created_at: datetime
    reason: str
    rolled_back_by: str


@dataclass(frozen=True, slots=True)
class StartableVersion:
    """A version that a rollout could start with."""

    model_id: str
    product: str
    name: str
    version: str
    created_at: datetime


def names(connection: Connection, model_ids: Iterable[str]) -> Mapping[str, str]:
    """Return "name version" by model_id."""
    return dict(connection.execute(QUERIES["names"], {"model_ids": list(model_ids)}).fetchall())


def requests_per_second(connection: Connection, product: str, now: datetime) -> Traffic:
    with connection.cursor(row_factory=class_row(Traffic)) as cursor:
        found = cursor.execute(QUERIES["requests_per_second"], {"product": product, "now": now}).fetchone()
    assert found is not None
    return found


def rollbacks(connection: Connection, rollout_id: str) -> list[RollbackEntry]:
    with connection.cursor(row_factory=class_row(RollbackEntry)) as cursor:
        return cursor.execute(QUERIES["rollbacks"], {"rollout_id": rollout_id}).fetchall()


def candidates(connection: Connection) -> list[StartableVersion]:
    with connection.cursor(row_factory=class_row(StartableVersion)) as cursor:
        return cursor.execute(QUERIES["candidates"]).fetchall()
