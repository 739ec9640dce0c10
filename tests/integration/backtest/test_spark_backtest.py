"""The Spark engine, with a real JVM and two local executor threads."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from archive import closing
from archive.parts.bucket import ArchiveBucket
from archive.plan import CLOSED_AFTER
from backtest.engines.spark import DaysNotArchived, SparkEngine
from backtest.request import BacktestToRun
from backtest.run import Engine, Prepared, execute, local_engine, prepared
from registry.artifacts import open_backend
from runtime.postgres import Connection, connect
from tests.support import backtested

pytest.importorskip("pyspark")
pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")

NOW = datetime.now(UTC)
EVENTS = 900


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened


def test_spark_gives_the_json_of_the_local_engine(connection: Connection, database_url: str, tmp_path: Path) -> None:
    bucket = f"file://{tmp_path / 'bucket'}"
    logged = backtested.add_log(connection, bucket, EVENTS)
    backtested.label(connection, logged, range(0, EVENTS, 2))
    now = datetime.now(UTC)  # labels of later do not count
    yesterday = str((NOW - timedelta(days=1)).date())
    request = BacktestToRun(
        logged.candidate.model_id,
        days=5,
        until=yesterday,
        maturity_days=0,
        segments=["country", "amount"],
        cost={"fraud_allow": {"share_of_amount": 1}},
    )

    def work() -> AbstractContextManager[Prepared]:
        settings: dict[str, Any] = {"database_url": database_url, "model_bucket": bucket, "maturity_days": 30.0}
        return prepared(connection, request, now=now, **settings)

    def report(engine: Engine) -> bytes:
        with work() as ready:
            return msgspec.json.encode(execute(ready, engine, lambda rows: None).report)

    with work() as ready, pytest.raises(DaysNotArchived, match=yesterday):
        execute(ready, SparkEngine("local[2]"), lambda rows: None)
    closing.run(connection, ArchiveBucket(open_backend(bucket)), now=NOW + CLOSED_AFTER)
    local = report(local_engine(2))
    assert msgspec.json.decode(local)["labels"]["fraud"] > 0
    assert report(SparkEngine("local[2]")) == local
