"""The rows of sira_backtests. Every function runs in the caller's transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from backtest.errors import BacktestError, BacktestNotFound
from backtest.figures.costs import read_costs
from backtest.figures.description import BacktestReport
from backtest.request import BacktestToRun
from backtest.sources.known_fields import check_fields_early
from registry.store import resolve
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).parent / "queries.sql")
MAX_WAITING = 4  # of a product
# A process reports every few seconds; this long without a report, it is gone.
SILENT = timedelta(minutes=3)


BacktestStatus = Literal["waiting", "running", "done", "failed"]


class BacktestsOff(BacktestError):
    def __init__(self) -> None:
        super().__init__("this database has no backtests yet: apply migration 008_backtests")


class TooManyWaiting(BacktestError):
    def __init__(self, product: str) -> None:
        super().__init__(f"{MAX_WAITING} backtests of {product} have not ended yet: try again when one has")


class StoredBacktest(msgspec.Struct, frozen=True):
    """A backtest as it is now. `report` is left out of lists, and null until it is done."""

    backtest_id: str
    product: str
    model_id: str
    sha256: str
    production_model_id: str | None
    request: BacktestToRun
    status: BacktestStatus
    rows_total: int
    rows_done: int
    report: BacktestReport | None
    error: str | None
    created_at: datetime
    created_by: str
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How many backtests of a product have a status, and when the last of them ended."""

    product: str
    status: BacktestStatus
    backtests: int
    last_ended: datetime | None


def is_migrated(connection: Connection) -> bool:
    row = connection.execute(QUERIES["is_migrated"]).fetchone()
    return bool(row and row[0])


def insert(connection: Connection, request: BacktestToRun, *, actor: str) -> StoredBacktest:
    """Add a backtest that waits; raises ModelNotFound, CostsInvalid, InputInvalid, TooManyWaiting and BacktestsOff."""
    _require(connection)
    read_costs(request.cost)
    model = resolve(connection, request.model_id)
    check_fields_early(connection, request, model.product, *request.period(datetime.now(UTC)))
    waiting = connection.execute(QUERIES["count_waiting"], {"product": model.product}).fetchone()
    if waiting and waiting[0] >= MAX_WAITING:
        raise TooManyWaiting(model.product)
    values = {
        "product": model.product,
        "model_id": model.model_id,
        "sha256": model.sha256,
        "request": Jsonb(msgspec.to_builtins(request)),
        "actor": actor,
    }
    inserted = _one(connection, "insert", values)
    assert inserted is not None
    return inserted


def find(connection: Connection, backtest_id: str) -> StoredBacktest:
    """Return a backtest with its report; raises BacktestNotFound and BacktestsOff."""
    _require(connection)
    found = _one(connection, "find", {"backtest_id": backtest_id.lower()})
    if found is None:
        raise BacktestNotFound(backtest_id)
    return found


def newest(connection: Connection, *, product: str | None, limit: int) -> list[StoredBacktest]:
    """Return backtests without their reports, newest first; raises BacktestsOff."""
    _require(connection)
    return _all(connection, "newest", {"product": product, "limit": limit})


def has_work(connection: Connection) -> bool:
    row = connection.execute(QUERIES["has_work"], {"silent": SILENT}).fetchone()
    return bool(row and row[0])


def count_by_status(connection: Connection) -> list[StatusCount]:
    """Return a count for every status of every product that has a backtest."""
    with connection.cursor(row_factory=class_row(StatusCount)) as cursor:
        return cursor.execute(QUERIES["count_by_status"], {"statuses": list(get_args(BacktestStatus))}).fetchall()


def take(connection: Connection) -> StoredBacktest | None:
    """Return a backtest that this process runs from now on, or None."""
    return _one(connection, "take", {"silent": SILENT})


def report_progress(connection: Connection, backtest_id: str, *, total: int, done: int) -> None:
    connection.execute(QUERIES["report_progress"], {"backtest_id": backtest_id, "total": total, "done": done})


def finish(connection: Connection, backtest_id: str, report: BacktestReport) -> None:
    production = report.production.model_id if report.production else None
    values = {"backtest_id": backtest_id, "report": Jsonb(msgspec.to_builtins(report))}
    connection.execute(QUERIES["finish"], {**values, "production_model_id": production})


def fail(connection: Connection, backtest_id: str, error: str) -> None:
    connection.execute(QUERIES["fail"], {"backtest_id": backtest_id, "error": error})


def _require(connection: Connection) -> None:
    if not is_migrated(connection):
        raise BacktestsOff


def _all(connection: Connection, query: str, values: Mapping[str, Any]) -> list[StoredBacktest]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_from_row(row) for row in cursor.execute(QUERIES[query], values)]


def _one(connection: Connection, query: str, values: Mapping[str, Any]) -> StoredBacktest | None:
    return next(iter(_all(connection, query, values)), None)


def _from_row(row: Mapping[str, Any]) -> StoredBacktest:
    texts = {name: None if row[name] is None else str(row[name]) for name in ("backtest_id", "model_id")}
    production = row["production_model_id"]
    values = {**row, **texts, "production_model_id": None if production is None else str(production)}
    return msgspec.convert(values, StoredBacktest)
