"""The account as Postgres has it, counted anew from the rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import class_row

from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).parent / "queries.sql")
_DIFFERENCES = ("arm_differences", "paired_differences", "hour_differences", "production_error_differences")


@dataclass(frozen=True, slots=True)
class Logged:
    """A row of the prediction log; `score` and `decision` are None for an event that no model could score."""

    prediction_id: str
    event_id: str
    payload: str
    payload_sha256: str
    model_id: str
    artifact_sha256: str
    score: float | None
    decision: str | None
    review_threshold: float
    block_threshold: float
    variant: str
    arm: str


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows of events that a model has scored, and their different prediction ids."""

    rows: int
    ids: int


def logged(connection: Connection, *, one_in: int = 1) -> Iterator[Logged]:
    """Every row of callers who keep their answers, and one in so many of the others (up to 256).

    Streamed: an hour's log need not fit into memory.
    """
    with connection.transaction(), connection.cursor("logged", row_factory=class_row(Logged)) as cursor:
        cursor.itersize = 5_000
        cursor.execute(QUERIES["logged"], {"one_in": one_in})
        yield from cursor


def count_logged(connection: Connection, ids: Sequence[str]) -> int:
    return _number(connection, "count_logged", {"ids": list(ids)})


def count_events(connection: Connection, prefix: str) -> Counted:
    """Of the events whose id begins so."""
    with connection.cursor(row_factory=class_row(Counted)) as cursor:
        found = cursor.execute(QUERIES["count_events"], {"prefix": prefix}).fetchone()
    assert found is not None
    return found


def count_canary_failures(connection: Connection) -> int:
    """Events whose canary failed."""
    return _number(connection, "count_canary_failures")


def span(connection: Connection) -> tuple[float, float]:
    """Seconds that the newest row is ahead of Postgres' clock, and the oldest behind."""
    row = connection.execute(QUERIES["span"]).fetchone()
    assert row is not None
    return row[0], row[1]


def count_deadlocks(connection: Connection) -> int:
    """That Postgres has found in this database, since ever."""
    return _number(connection, "count_deadlocks")


def differences(connection: Connection) -> int:
    """Groups of evidence, of pairs, of hours and of error halves that differ from a count of the predictions."""
    return sum(_number(connection, name) for name in _DIFFERENCES)


def _number(connection: Connection, query: str, parameters: Mapping[str, object] | None = None) -> int:
    row = connection.execute(QUERIES[query], parameters).fetchone()
    assert row is not None
    return int(row[0])
