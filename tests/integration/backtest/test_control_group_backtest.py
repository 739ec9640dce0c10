"""A backtest of a log with a control group, from Postgres and from the archive."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archive import closing
from archive.parts.bucket import ArchiveBucket
from archive.plan import CLOSED_AFTER
from backtest.figures.description import BacktestReport
from backtest.replay import ReplayTask, replay
from backtest.request import BacktestToRun
from backtest.run import execute, prepared
from backtest.sources.parts import LogPart
from backtest.tally.sums import Sums, merged
from registry.artifacts import open_backend
from runtime.postgres import Connection, connect
from scoring.log.prediction import Prediction, with_propensity
from tests.support import backtested
from tests.support.archived_log import add_labels, ship_rows


def in_this_process(task: ReplayTask, parts: Sequence[LogPart], progress: Callable[[int], None]) -> Sums:
    return merged(sums for part in parts for sums in replay(task, part.batches(task.columns)))


def report(connection: Connection, database_url: str, bucket: str, model_id: str) -> BacktestReport:
    request = BacktestToRun(model_id, days=5, maturity_days=0)
    with (
        connection.transaction(),
        prepared(
            connection,
            request,
            database_url=database_url,
            model_bucket=bucket,
            maturity_days=30,
            now=datetime.now(UTC),
        ) as work,
    ):
        return execute(work, in_this_process, lambda rows: None).report


def test_what_passed_is_weighed_and_the_rest_is_named(database_url: str, tmp_path: Path) -> None:
    bucket = f"file://{tmp_path}"
    with connect(database_url, name="tests", autocommit=True) as connection:
        logged = backtested.add_log(connection, bucket, 600)
        high = max(logged.rows, key=lambda row: row.score or 0)

        def again(name: str, decision: str) -> Prediction:
            values = {field: getattr(high, field) for field in Prediction.__struct_fields__}
            identity = f"00000000-0000-8000-8000-{int(name.encode().hex(), 16) % 10**12:012d}"
            return Prediction(**{**values, "prediction_id": identity, "event_id": name, "decision": decision})

        blocked = [with_propensity(again(f"b{n}", "block"), 0.05) for n in range(38)]
        passed = [with_propensity(again(f"p{n}", "review"), 0.05) for n in range(2)]
        large = [with_propensity(again("large", "block"), 0.0)]
        before = report(connection, database_url, bucket, logged.production.model_id)
        assert before.control_group is None
        ship_rows(connection, [*blocked, *passed, *large])
        add_labels(connection, backtested.PRODUCT, ["p0"], datetime.now(UTC).timestamp() - 60)
        found = report(connection, database_url, bucket, logged.production.model_id)
        figures = found.control_group
        assert figures is not None
        assert (figures.eligible, figures.passed, figures.labelled) == (40, 2, 1)
        assert figures.blind == before.blind_spot.unlabelled + 1
        assert figures.before.precision.value == pytest.approx(1.0)
        closing.run(connection, ArchiveBucket(open_backend(bucket)), now=datetime.now(UTC) + CLOSED_AFTER)
        assert report(connection, database_url, bucket, logged.production.model_id).control_group == figures
