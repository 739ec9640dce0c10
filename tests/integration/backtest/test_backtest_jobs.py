"""Backtests that are asked for over HTTP, in real processes."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from archive import closing
from archive.parts.bucket import ArchiveBucket
from archive.plan import CLOSED_AFTER
from backtest.errors import BacktestNotFound, CostsInvalid
from backtest.jobs import store
from backtest.jobs.job import BacktestJob
from backtest.jobs.store import BacktestsOff, StoredBacktest, TooManyWaiting
from backtest.jobs.worker import run_next
from backtest.request import BacktestToRun
from lab import procfs
from registry.artifacts import open_backend
from registry.store import ModelNotFound
from runtime.postgres import Connection, connect
from runtime.reading import InputInvalid
from runtime.settings import BacktestSettings, Settings
from tests.support import backtested
from tests.support.log_rows import new_id, wait_until

MODEL = f"{backtested.PRODUCT}/gbm/2"


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened


@pytest.fixture
def logged(connection: Connection, settings: Callable[..., Settings]) -> None:
    backtested.add_log(connection, settings().model_bucket, 300)


def ask(connection: Connection, **values: object) -> StoredBacktest:
    return store.insert(connection, BacktestToRun(MODEL, **values), actor="tests")  # type: ignore[arg-type]


def status(connection: Connection, asked: StoredBacktest) -> str:
    return store.find(connection, asked.backtest_id).status


def exported(metric: str, of: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"product": backtested.PRODUCT, "status": of})


def is_worker(pid: int) -> bool:
    return "backtest.jobs.worker" in Path(f"/proc/{pid}/cmdline").read_text()


def test_without_a_backtest_nothing_runs(settings: Callable[..., Settings], connection: Connection) -> None:
    settings()
    assert not run_next(BacktestSettings.load(), 1)
    assert BacktestJob().work(connection) == 0


@pytest.mark.usefixtures("logged")
def test_the_controller_starts_a_process_that_stores_the_report(connection: Connection) -> None:
    asked = ask(connection, days=5)
    job = BacktestJob()
    assert job.work(connection) == 1
    assert wait_until(lambda: store.find(connection, asked.backtest_id).status == "done", 60)
    done = store.find(connection, asked.backtest_id)
    assert done.report is not None
    assert done.report.events == done.rows_done == done.rows_total == 300
    assert done.report.production is not None
    assert done.production_model_id == done.report.production.model_id
    assert [one.report for one in store.newest(connection, product=None, limit=5)] == [None]
    job.stop()


@pytest.mark.usefixtures("logged")
def test_a_backtest_that_cannot_run_fails_with_its_reason(connection: Connection) -> None:
    asked = ask(connection, until="2020-01-05")
    assert run_next(BacktestSettings.load(), 1)
    failed = store.find(connection, asked.backtest_id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert "no decided event of cards" in failed.error


def test_a_field_of_days_that_only_the_archive_has_is_looked_up_by_the_backtest(
    connection: Connection, settings: Callable[..., Settings]
) -> None:
    bucket = settings().model_bucket
    backtested.add_log(connection, bucket, 300, extra={"device": "phone"})
    closing.run(connection, ArchiveBucket(open_backend(bucket)), now=datetime.now(UTC) + CLOSED_AFTER)
    for (table,) in connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'sira_predictions'::regclass"
    ).fetchall():
        connection.execute(f"DROP TABLE {table}")
    known, misspelt = (ask(connection, days=5, segments=[name]) for name in ("device", "devise"))
    assert run_next(BacktestSettings.load(), 1)
    assert run_next(BacktestSettings.load(), 1)
    assert status(connection, known) == "done"
    error = store.find(connection, misspelt.backtest_id).error
    assert error == "/segments/0: no event of cards has devise; did you mean device?"


@pytest.mark.usefixtures("logged")
def test_a_backtest_whose_process_died_is_taken_over(connection: Connection) -> None:
    asked = ask(connection, days=5)
    assert store.take(connection) is not None
    assert store.take(connection) is None
    assert not store.has_work(connection)
    connection.execute("UPDATE sira_backtests SET seen_at = now() - interval '4 min'")
    assert store.has_work(connection)
    taken = store.take(connection)
    assert taken is not None
    assert taken.backtest_id == asked.backtest_id


@pytest.mark.usefixtures("logged")
def test_what_is_asked_is_checked_at_once(connection: Connection) -> None:
    with pytest.raises(ModelNotFound):
        store.insert(connection, BacktestToRun("cards/gbm/9"), actor="tests")
    with pytest.raises(CostsInvalid):
        ask(connection, cost={"fraud": {}})
    with pytest.raises(InputInvalid, match="/segments/1: no event of cards has country_x; did you mean country"):
        ask(connection, segments=["hour", "country_x"], amount_field="amount")
    with pytest.raises(BacktestNotFound):
        store.find(connection, new_id())
    for _ in range(store.MAX_WAITING):
        ask(connection)
    with pytest.raises(TooManyWaiting):
        ask(connection)


@pytest.mark.usefixtures("logged")
def test_a_backtest_that_its_process_dies_of_fails_at_once(connection: Connection) -> None:
    asked = ask(connection, days=5)
    job = BacktestJob()
    assert job.work(connection) == 1
    assert wait_until(lambda: store.find(connection, asked.backtest_id).rows_total > 0, 60)
    for pid in [pid for pid, parent in procfs.parents().items() if parent == os.getpid() and is_worker(pid)]:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(
        lambda: job.work(connection) == 0 and store.find(connection, asked.backtest_id).error is not None, 30
    )
    failed = store.find(connection, asked.backtest_id)
    assert failed.error == "its process ended with -9: was it out of memory?"
    assert not store.has_work(connection)
    job.stop()


@pytest.mark.usefixtures("logged")
def test_the_controller_exports_how_many_ended_and_when(
    connection: Connection,
) -> None:
    ask(connection, until="2020-01-05")
    assert run_next(BacktestSettings.load(), 1)
    ask(connection, days=5)
    assert run_next(BacktestSettings.load(), 1)
    ask(connection, until="2020-01-05")
    job = BacktestJob()
    job.stop()
    job.work(connection)
    counts = {of: exported("sira_backtests", of) for of in ("waiting", "running", "done", "failed")}
    assert counts == {"waiting": 1, "running": 0, "done": 1, "failed": 1}
    done, failed = (exported("sira_backtest_ended_timestamp_seconds", of) for of in ("done", "failed"))
    assert failed is not None
    assert done is not None
    assert failed < done <= time.time()
    assert exported("sira_backtest_ended_timestamp_seconds", "running") is None


def test_without_the_migration_backtests_are_off(connection: Connection) -> None:
    connection.execute("DROP TABLE sira_backtests")
    assert BacktestJob().work(connection) == 0
    with pytest.raises(BacktestsOff, match="008_backtests"):
        store.newest(connection, product=None, limit=1)
