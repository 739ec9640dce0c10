"""The pages of the console over a log of millions of predictions: how long each takes, and what it asks Postgres."""

import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from urllib.parse import urlencode

from canary.labels.store import count_labels
from console.pages import path_to
from lab import procfs
from lab.benchmarks.deployment import controlled
from lab.benchmarks.model import PRODUCT
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.finding import Finding, MeasurementFailed
from lab.benchmarks.scale.generated_log import PRODUCTS, ROLLED_OUT, GeneratedLog, begin, reopen
from lab.benchmarks.scale.prediction_log import DAYS, check_disk
from lab.benchmarks.scale.seed import ARTIFACTS, first_version
from lab.benchmarks.scale.workspace import QUERIES, Database, Workspace
from lab.http import Client, ask
from runtime.postgres import Connection

GOAL_MILLISECONDS = 100
WARM_UP = 10
SECONDS_UNTIL_LOGGED = 0.5
# The jobs of a controller begin within this time after its start, and each may find much to do.
IDLE_SECONDS, MAX_IDLE_SHARE, MAX_SECONDS_UNTIL_IDLE = 30.0, 0.05, 60.0
# A statement of a page in the server's log; those with and without parameters are logged under different words.
STATEMENT = re.compile(r"^sira-control LOG:  (?:statement|execute [^:]*): (?!BEGIN|COMMIT|ROLLBACK)", re.MULTILINE)


def measure(workspace: Workspace) -> Finding:
    times = 10 if workspace.quick else 60
    kept = workspace.kept_log or workspace.folder
    with workspace.database(durable=False, home=kept / "postgres") as database:
        log, days = reopen(database.connection, workspace.rows) or (_filled(workspace, database, kept), DAYS)
        log.add_last_hour()
        # Judging would change the pages between two requests.
        settings = {"CANARY_TICK_SECONDS": "86400", "MODEL_BUCKET": f"file://{kept / ARTIFACTS}"}
        with controlled(database.url, workspace.folder / "control", settings, niceness=0) as client:
            workspace.report("waiting until the controller's jobs have read the log")
            _await_idle(database)
            paths = pages(database.connection, log, times + WARM_UP, days)
            rows: list[dict[str, str | int | float]] = []
            for page, ways in paths.items():
                workspace.report(f"{page}, {times} times")
                rows.append({"page": page, **_timed(client, ways, database)})
            with _logged_statements(database):
                for row, ways in zip(rows, paths.values(), strict=True):
                    row["statements"] = _statements(client, ways[-1], database.home / "postgres.log")
    slowest = max(rows, key=lambda row: float(row["p95 ms"]))
    return Finding(
        "The pages of the console",
        f"{log.rows_per_day * days:,} predictions over {days} days, {len(PRODUCTS)} products, one with a canary and"
        f" a week of verdicts; each page {times} times over HTTP, one request at a time, as ml_ops, and each time for"
        f" another decision, event, key or hour of the log; {WARM_UP} before are not counted. Milliseconds are those"
        " of the whole answer; a search by prediction id is answered with the decision's page. Processor time is the"
        " mean per page, with that of the controller's own jobs meanwhile. Busy is the share of both cores' time that"
        " anything used, this included. Statements are without those that begin and end a transaction.",
        tuple(rows),
        (f"The slowest at p95 is: {slowest['page']}.",),
        (Goal("slowest page at p95, ms", GOAL_MILLISECONDS, float(slowest["p95 ms"]), at_most=True),),
    )


def _filled(workspace: Workspace, database: Database, folder: Path) -> GeneratedLog:
    check_disk(workspace)
    first = first_version(database.connection, folder, workspace.workload.model_path, PRODUCT)
    log = begin(database.connection, first, workspace.workload.payloads, rows_per_day=workspace.rows // DAYS)
    for days in log.days(DAYS):
        workspace.report(f"{days * log.rows_per_day:,} of {workspace.rows:,} rows")
        if days == 1:
            log.judge()
    workspace.report("VACUUM ANALYZE")
    database.connection.execute("VACUUM ANALYZE")
    count_labels(database.connection, maturity=timedelta(days=1))
    return log


def pages(connection: Connection, log: GeneratedLog, times: int, days: int) -> Mapping[str, Sequence[str]]:
    """Return the paths to ask for, by page: as many as `times`, and different ones where a page has a subject."""
    found = connection.execute("SELECT rollout_id::text, canary_model_id::text FROM sira_canary_config").fetchone()
    assert found is not None
    rollout_id, model_id = found
    decisions = path_to("decisions")
    events, predictions = list(log.some_events(times, days)), list(log.some_predictions(times, days))
    hours = [_midnight_after(log) - timedelta(hours=7 * number % (24 * days)) for number in range(times)]

    def searches(*fields: Mapping[str, str]) -> list[str]:
        return [f"{decisions}?{urlencode(one)}" for one in fields]

    def spans(length: timedelta, **narrowed: str) -> list[str]:
        return searches(*({"from": _text(at - length), "to": _text(at), **narrowed} for at in hours))

    return {
        "overview": [path_to()] * times,
        "list of rollouts": [path_to("rollouts")] * times,
        "one rollout, a week old": [path_to("rollouts", rollout_id)] * times,
        "list of models": [path_to("models")] * times,
        "one model": [path_to("models", model_id)] * times,
        "search without a field": [decisions] * times,
        "search by event id": searches(*({"event_id": one} for one in events)),
        "search by prediction id": searches(*({"id": one} for one in predictions)),
        "search by routing key, 1 day": searches(
            *({"routing_key": key, **_day_of(key)} for key in events),
        ),
        "search by time, 15 min": spans(timedelta(minutes=15)),
        "search by time, blocks of a product in a day": spans(timedelta(days=1), product=PRODUCTS[1], decision="block"),
        "search by time, blocks in all days": spans(timedelta(days=days), decision="block"),
        "one decision": [path_to("decisions", one) for one in predictions],
        "health": [path_to("health", ROLLED_OUT)] * times,
        "backtests": [path_to("backtests")] * times,
        "audit": [path_to("audit")] * times,
    }


def _timed(client: Client, paths: Sequence[str], database: Database) -> Mapping[str, float]:
    """Return the quantiles of all but the first few paths, and the mean processor time of controller and Postgres."""
    for path in paths[:WARM_UP]:
        _page(client, path)
    taken = []
    began = time.monotonic()
    ours, postgres, everything = _busy(database)
    for path in paths[WARM_UP:]:
        started = time.perf_counter()
        _page(client, path)
        taken.append((time.perf_counter() - started) * 1e3)
    cores = range(os.cpu_count() or 1)
    elapsed = time.monotonic() - began
    ours, postgres, everything = (
        after - before for after, before in zip(_busy(database), (ours, postgres, everything), strict=True)
    )
    taken.sort()
    return {
        **{f"p{share} ms": taken[math.ceil(share / 100 * len(taken)) - 1] for share in (50, 95)},
        "controller CPU ms": 1e3 * (ours - postgres) / len(taken),
        "Postgres CPU ms": 1e3 * postgres / len(taken),
        "busy %": min(100.0, 100 * everything / elapsed / len(cores)),
    }


def _await_idle(database: Database) -> None:
    """Wait until the jobs of the controller have caught up with a log that it sees for the first time."""
    ending = time.monotonic() + MAX_SECONDS_UNTIL_IDLE
    while time.monotonic() < ending:
        before = _busy(database)[0]
        time.sleep(IDLE_SECONDS)
        if _busy(database)[0] - before < MAX_IDLE_SHARE * IDLE_SECONDS:
            return


def _busy(database: Database) -> tuple[float, float, float]:
    """Return the processor time so far of the controller and Postgres, of Postgres, and of everything."""
    everything = sum(procfs.core_busy_seconds(core) for core in range(os.cpu_count() or 1))
    return procfs.descendants_seconds(os.getpid()), procfs.family_seconds(database.pid), everything


def _page(client: Client, path: str) -> None:
    """Ask for a page; follow its redirect, as a browser does."""
    answer = ask(client.base + path, client.token)
    if answer.status == 303:
        answer = ask(client.base + answer.headers["location"], client.token)
    if answer.status != 200 or "<h1" not in answer.text:
        raise MeasurementFailed(f"{path} answered {answer.status}, and not with a page of the console")


def _statements(client: Client, path: str, postgres_log: Path) -> int:
    """Return how many statements one page sends, from the server's log."""
    before = postgres_log.stat().st_size
    _page(client, path)
    time.sleep(SECONDS_UNTIL_LOGGED)
    with postgres_log.open("rb") as file:
        file.seek(before)
        return len(STATEMENT.findall(file.read().decode(errors="replace")))


@contextmanager
def _logged_statements(database: Database) -> Iterator[None]:
    """Let the server log every statement, which takes time: only after the pages have been timed."""
    for query in ("log_statements", "name_connections", "reload_settings"):
        database.connection.execute(QUERIES[query])
    time.sleep(SECONDS_UNTIL_LOGGED)
    try:
        yield
    finally:
        for query in ("reset_settings", "reload_settings"):
            database.connection.execute(QUERIES[query])


def _midnight_after(log: GeneratedLog) -> datetime:
    return datetime.combine(log.last_day + timedelta(days=1), clock_time(), UTC)


def _day_of(event_id: str) -> Mapping[str, str]:
    """Return the span of the day that an event's id begins with."""
    day = datetime.strptime(event_id.partition("-")[0], "%Y%m%d").replace(tzinfo=UTC)
    return {"from": _text(day), "to": _text(day + timedelta(days=1))}


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M")
