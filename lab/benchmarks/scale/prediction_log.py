"""A log of millions of predictions: every view, one prediction by its id, and the canary's report."""

import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from psycopg import sql

from canary.labels.store import count_labels
from lab.benchmarks.deployment import controlled
from lab.benchmarks.model import PRODUCT
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth, transposed
from lab.benchmarks.scale.generated_log import PRODUCTS, ROLLED_OUT, ROLLOUT_DAYS, GeneratedLog, begin
from lab.benchmarks.scale.seed import first_version
from lab.benchmarks.scale.workspace import QUERIES, Database, Workspace, milliseconds
from lab.http import Client

DAYS = 20
TIMES = 5
LOOKED_UP = 20
BYTES_PER_ROW = 1_500  # heap, indexes, write-ahead log, and space to sort
SPARE_BYTES = 4 << 30
RETAINED_DAYS = 400


def measure(workspace: Workspace) -> Finding:
    check_disk(workspace)
    rows = []
    with workspace.database(durable=False) as database:
        first = first_version(database.connection, workspace.folder, workspace.workload.model_path, PRODUCT)
        log = begin(database.connection, first, workspace.workload.payloads, rows_per_day=workspace.rows // DAYS)
        for days in log.days(DAYS):
            workspace.report(f"{days * log.rows_per_day:,} of {workspace.rows:,} rows")
            if days == 1:
                log.judge()
            if days in (1, 5, DAYS):
                rows.append(_row(workspace, database, log, days))
        retained = _with_a_year_of_partitions(workspace, database, log)
    slowest = max((figure for heading, figure in rows[-1].items() if heading.endswith("ms")), key=float)
    return Finding(
        "The prediction log",
        f"{log.rows_per_day:,} rows per day over {DAYS} days, {len(PRODUCTS)} products, one with a canary at 10 % for"
        f" {ROLLOUT_DAYS} days; every view read completely, routes over HTTP, milliseconds, median of {TIMES}."
        " Postgres 18 with its default settings; the tables are larger than its buffers and mostly in the system's page"
        " cache.",
        transposed(rows, "rows"),
        (
            growth(rows, "rows", "v_service_health_hourly ms", "a prediction by id ms", "report ms"),
            f"With partitions for {RETAINED_DAYS} days, a prediction by id takes {retained:.1f} ms.",
        ),
        (Goal("slowest view or report, ms", 1000, float(slowest), at_most=True),),
    )


def check_disk(workspace: Workspace) -> None:
    """Raise MeasurementFailed if the log would not fit on the disk."""
    needed, free = workspace.rows * BYTES_PER_ROW + SPARE_BYTES, shutil.disk_usage(workspace.folder).free
    if free < needed:
        raise MeasurementFailed(
            f"{workspace.rows:,} rows need {needed >> 30} GiB under {workspace.folder.parent},"
            f" {free >> 30} GiB are free:"
            " use a smaller --rows, or set TMPDIR"
        )


def _row(workspace: Workspace, database: Database, log: GeneratedLog, days: int) -> Row:
    workspace.report(f"measuring at {days * log.rows_per_day:,} rows")
    connection = database.connection
    connection.execute("VACUUM ANALYZE")
    counting = milliseconds(lambda: count_labels(connection, maturity=timedelta(days=1)))
    views = [row[0] for row in connection.execute(QUERIES["views"])]
    found: dict[str, str | float] = {"rows": days * log.rows_per_day}
    for view in views:
        found[f"{view} ms"] = milliseconds(partial(_read, database, view), TIMES)
    with _control(workspace, database) as client:
        found["a prediction by id ms"] = _look_up(log, days, client)
        path = f"/v1/canary/{ROLLED_OUT}/report"
        found["report ms"] = milliseconds(lambda: client.get(path), TIMES)
        found["report as a page ms"] = milliseconds(lambda: client.text(f"{path}?format=html"), TIMES)
    return found | {"all labels counted s": counting / 1e3, "GiB on disk": _gibibytes(database)}


@contextmanager
def _control(workspace: Workspace, database: Database) -> Iterator[Client]:
    """Yield a client of a controller that judges once a day."""
    with controlled(database.url, workspace.folder / "control", {"CANARY_TICK_SECONDS": "86400"}) as client:
        yield client


def _read(database: Database, view: str) -> None:
    database.connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view))).fetchall()


def _look_up(log: GeneratedLog, days: int, client: Client) -> float:
    """Return the median milliseconds over predictions of all days."""
    paths = [f"/v1/predictions/{one}" for one in log.some_predictions(LOOKED_UP, days)]
    client.get(paths.pop())
    return statistics.median(milliseconds(partial(client.get, path)) for path in paths)


def _with_a_year_of_partitions(workspace: Workspace, database: Database, log: GeneratedLog) -> float:
    first = log.last_day - timedelta(days=RETAINED_DAYS - 1)
    database.connection.execute(QUERIES["make_log_partitions"], {"first": first, "last": log.last_day})
    with _control(workspace, database) as client:
        return _look_up(log, DAYS, client)


def _gibibytes(database: Database) -> float:
    found = database.connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert found is not None
    return float(found[0]) / 2**30
