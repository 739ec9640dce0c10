"""The prediction log as Postgres holds it, read and counted independently of the product."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import class_row

from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
_DIFFERENCES = ("arm_differences", "paired_differences", "hour_differences", "production_error_differences")
_FETCH_ROWS = 5_000


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
class EventCount:
    """`rows` of events that a model scored, and `ids`: their distinct prediction ids."""

    rows: int
    ids: int


def logged(connection: Connection, *, one_in: int = 1) -> Iterator[Logged]:
    """Yield every row of callers who keep their answers, and one in `one_in` (up to 256) of the others.

    Rows are streamed: the log of an hour need not fit into memory.
    """
    with connection.transaction(), connection.cursor("logged", row_factory=class_row(Logged)) as cursor:
        cursor.itersize = _FETCH_ROWS
        cursor.execute(QUERIES["logged"], {"one_in": one_in})
        yield from cursor


def count_logged(connection: Connection, ids: Sequence[str]) -> int:
    """Count how many of these prediction ids are in the log."""
    return _number(connection, "count_logged", {"ids": list(ids)})


def count_events(connection: Connection, prefix: str) -> EventCount:
    """Count the scored rows of events whose id begins with `prefix`."""
    with connection.cursor(row_factory=class_row(EventCount)) as cursor:
        found = cursor.execute(QUERIES["count_events"], {"prefix": prefix}).fetchone()
    assert found is not None
    return found


def count_canary_failures(connection: Connection) -> int:
    """Count the events that the canary failed to score."""
    return _number(connection, "count_canary_failures")


def span(connection: Connection) -> tuple[float, float]:
    """Return the seconds by which the newest row is ahead of Postgres' clock, and the oldest behind it."""
    row = connection.execute(QUERIES["span"]).fetchone()
    assert row is not None
    return row[0], row[1]


def count_deadlocks(connection: Connection) -> int:
    """Count the deadlocks that Postgres has found in this database so far."""
    return _number(connection, "count_deadlocks")


def count_evidence_differences(connection: Connection) -> int:
    """Count the groups of evidence, pairs, hours and error halves that differ from the sum over the predictions."""
    return sum(_number(connection, name) for name in _DIFFERENCES)


def _number(connection: Connection, query: str, parameters: Mapping[str, object] | None = None) -> int:
    row = connection.execute(QUERIES[query], parameters).fetchone()
    assert row is not None
    return int(row[0])
