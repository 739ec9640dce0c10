"""What the pages of rollouts read. The caller owns the transaction."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from psycopg.rows import class_row, dict_row

from canary.judge.measurement import Measurement
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

# Verdicts that a page draws: more would not be visible.
MAX_POINTS = 160


@dataclass(frozen=True, slots=True)
class JudgedMoment:
    """One verdict of the course of a rollout."""

    judged_at: datetime
    phase: int
    verdict: str
    action: str
    reasons: tuple[str, ...]
    measurements: tuple[Measurement, ...]


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


def verdict_course(connection: Connection, rollout_id: str) -> list[JudgedMoment]:
    """Return at most MAX_POINTS verdicts, evenly chosen, oldest first; the newest is among them."""
    values = {"rollout_id": rollout_id, "points": MAX_POINTS}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES["verdict_course"], values).fetchall()
    return [msgspec.convert(row, JudgedMoment) for row in rows]


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
