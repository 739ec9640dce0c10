"""What a measurement is given: a folder, the models and payloads of the comparison, a Postgres, and both cores."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks.model import Workload
from lab.postgres import LocalPostgres
from migrations import runner
from runtime.postgres import Connection, connect
from runtime.queries import load_queries

STATEMENT_TIMEOUT_MS = 3_600_000
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True)
class Database:
    """`connection` is in autocommit mode; `home` has the server's log, and `pid` is the server's."""

    url: str
    connection: Connection
    home: Path
    pid: int


@dataclass(frozen=True)
class Workspace:
    """`quick`: smaller sizes and shorter runs. `rows`: predictions to fill the log with. `report` shows progress.

    `kept_log`: where a Postgres with a log of that many rows is kept from one run to the next, if anywhere.
    """

    folder: Path
    workload: Workload
    quick: bool
    rows: int
    report: Callable[[str], None]
    kept_log: Path | None = None

    @contextmanager
    def database(self, *, durable: bool = True, home: Path | None = None) -> Iterator[Database]:
        """Start a migrated Postgres that may use every core.

        `durable=False` skips fsync: for tables so large that only reading them is measured.
        """
        with all_cores(), LocalPostgres.start(home or self.folder / "postgres", durable=durable) as postgres:
            url = postgres.create_database("sira")
            with connect(
                url, name="benchmarks", autocommit=True, statement_timeout_ms=STATEMENT_TIMEOUT_MS
            ) as connection:
                runner.up(connection)
                yield Database(url, connection, postgres.home, postgres.pid)


@contextmanager
def all_cores() -> Iterator[None]:
    """Let the processes started meanwhile use every core: for measurements without a load generator."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def milliseconds(call: Callable[[], object], times: int = 1) -> float:
    """Return the wall-clock time of a call, the median of `times`."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken)
