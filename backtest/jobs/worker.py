"""`python -m backtest.jobs.worker`: run the next backtest that waits, in a process of its own."""

import os
import time
from datetime import UTC, datetime

import psycopg

from backtest.errors import BacktestError
from backtest.jobs import store
from backtest.jobs.store import StoredBacktest
from backtest.run import execute, local_engine, prepared
from registry import RegistryError
from runtime.postgres import Connection, connect
from runtime.reading import InputInvalid
from runtime.settings import BacktestSettings

REPORT_SECONDS = 5.0
MAX_STATEMENT_MS = 600_000


def run_next(settings: BacktestSettings, processes: int) -> bool:
    """Run a backtest that waits, if there is one, and store its report or why there is none; print its id first."""
    url = settings.database_url.get_secret_value()
    with connect(url, name="backtest", autocommit=True, statement_timeout_ms=MAX_STATEMENT_MS) as connection:
        taken = store.take(connection)
        if taken is None:
            return False
        print(taken.backtest_id, flush=True)  # the controller names the backtest that this process died of
        try:
            _run(connection, taken, settings, processes)
        except (BacktestError, RegistryError, InputInvalid) as error:
            store.fail(connection, taken.backtest_id, str(error))
        except psycopg.Error as error:  # also when the connection is lost: then another process takes it over
            store.fail(connection, taken.backtest_id, f"Postgres failed: {type(error).__name__}")
        return True


def _run(connection: Connection, taken: StoredBacktest, settings: BacktestSettings, processes: int) -> None:
    with prepared(
        connection,
        taken.request,
        database_url=settings.database_url.get_secret_value(),
        model_bucket=settings.model_bucket,
        maturity_days=settings.label_maturity_days,
        now=datetime.now(UTC),
    ) as work:
        reported, done = time.monotonic(), 0
        store.report_progress(connection, taken.backtest_id, total=work.rows, done=0)

        def progress(rows: int) -> None:
            nonlocal reported, done
            done += rows
            if time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                store.report_progress(connection, taken.backtest_id, total=work.rows, done=done)

        finished = execute(work, local_engine(processes), progress)
        store.report_progress(connection, taken.backtest_id, total=work.rows, done=done)
        store.finish(connection, taken.backtest_id, finished.report)


def main() -> None:
    settings = BacktestSettings.load()
    # Half of the cores: the controller and Postgres may be on this machine.
    while run_next(settings, max(1, (os.cpu_count() or 1) // 2)):
        pass


if __name__ == "__main__":
    main()
