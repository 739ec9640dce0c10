"""A log of millions of predictions: the checklists' views, one prediction by its id, and the canary's report."""

import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from psycopg import sql

from canary.labels.store import count_labels
from lab.benchmarks.model import PRODUCT
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth, transposed
from lab.benchmarks.scale.generated_log import PRODUCTS, ROLLED_OUT, ROLLOUT_DAYS, GeneratedLog, begin
from lab.benchmarks.scale.room import QUERIES, Database, Room, milliseconds
from lab.benchmarks.scale.seed import first_version
from lab.benchmarks.served import Api, controlled

DAYS = 20
TIMES = 5
LOOKED_UP = 20
BYTES_A_ROW = 1_500  # heap, indexes and write-ahead log, with room to sort
SPARE_BYTES = 4 << 30
RETAINED_DAYS = 400


def measure(room: Room) -> Finding:
    _check_disk(room)
    rows = []
    with room.database(durable=False) as database:
        first = first_version(database.connection, room.folder, room.workload.model_path, PRODUCT)
        log = begin(database.connection, first, room.workload.payloads, rows_a_day=room.rows // DAYS)
        for days in log.days(DAYS):
            room.say(f"{days * log.rows_a_day:,} of {room.rows:,} rows")
            if days == 1:
                log.judge()
            if days in (1, 5, DAYS):
                rows.append(_row(room, database, log, days))
        retained = _with_a_year_of_partitions(room, database, log)
    slowest = max((figure for heading, figure in rows[-1].items() if heading.endswith("ms")), key=float)
    return Finding(
        "The prediction log",
        f"{log.rows_a_day:,} rows a day over {DAYS} days, {len(PRODUCTS)} products, one with a canary at 10 % for"
        f" {ROLLOUT_DAYS} days; every view in full, routes over HTTP, milliseconds, median of {TIMES}. Postgres 18 with"
        " its default settings; the tables are larger than its buffers and mostly in the system's page cache.",
        transposed(rows, "rows"),
        (
            growth(rows, "rows", "v_service_health_hourly ms", "a prediction by id ms", "report ms"),
            f"With partitions for {RETAINED_DAYS} days a prediction by id takes {retained:.1f} ms.",
        ),
        (Goal("slowest view or report, ms", 1000, float(slowest), at_most=True),),
    )


def _check_disk(room: Room) -> None:
    needed, free = room.rows * BYTES_A_ROW + SPARE_BYTES, shutil.disk_usage(room.folder).free
    if free < needed:
        raise MeasurementFailed(
            f"{room.rows:,} rows need {needed >> 30} GiB under {room.folder.parent}, {free >> 30} GiB are free:"
            " give a smaller --rows, or set TMPDIR"
        )


def _row(room: Room, database: Database, log: GeneratedLog, days: int) -> Row:
    room.say(f"measuring at {days * log.rows_a_day:,} rows")
    connection = database.connection
    connection.execute("VACUUM ANALYZE")
    counting = milliseconds(lambda: count_labels(connection, maturity=timedelta(days=1)))
    views = [row[0] for row in connection.execute(QUERIES["views"])]
    found: dict[str, str | float] = {"rows": days * log.rows_a_day}
    for view in views:
        found[f"{view} ms"] = milliseconds(partial(_read, database, view), TIMES)
    with _control(room, database) as control:
        found["a prediction by id ms"] = _look_up(log, days, control)
        path = f"/v1/canary/{ROLLED_OUT}/report"
        found["report ms"] = milliseconds(lambda: control.get(path), TIMES)
        found["report as a page ms"] = milliseconds(lambda: control.text(f"{path}?format=html"), TIMES)
    return found | {"labels counted anew s": counting / 1e3, "GiB on disk": _gibibytes(database)}


@contextmanager
def _control(room: Room, database: Database) -> Iterator[Api]:
    """The control API, of a controller that judges once in a day."""
    room.folder.joinpath("control").mkdir(exist_ok=True)
    with controlled(database.url, room.folder / "control", {"CANARY_TICK_SECONDS": "86400"}) as running:
        yield running


def _read(database: Database, view: str) -> None:
    database.connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view))).fetchall()


def _look_up(log: GeneratedLog, days: int, control: Api) -> float:
    """Median over predictions of any day."""
    paths = [f"/v1/predictions/{one}" for one in log.some_predictions(LOOKED_UP, days)]
    control.get(paths.pop())
    return statistics.median(milliseconds(partial(control.get, path)) for path in paths)


def _with_a_year_of_partitions(room: Room, database: Database, log: GeneratedLog) -> float:
    first = log.last_day - timedelta(days=RETAINED_DAYS - 1)
    database.connection.execute(QUERIES["make_log_partitions"], {"first": first, "last": log.last_day})
    with _control(room, database) as control:
        return _look_up(log, DAYS, control)


def _gibibytes(database: Database) -> float:
    found = database.connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert found is not None
    return float(found[0]) / 2**30
