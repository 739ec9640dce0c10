"""Backtests of a real log with trained models, against figures of other libraries."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from archive import closing
from archive.parts.bucket import ArchiveBucket
from archive.plan import CLOSED_AFTER
from backtest.errors import NoEvents, TooManyValues
from backtest.figures.description import BacktestReport
from backtest.replay import ReplayTask, replay
from backtest.request import BacktestToRun
from backtest.run import Engine, Prepared, execute, local_engine, prepared
from backtest.sources.parts import LogPart
from backtest.tally.sums import Sums, merged
from lab.postgres import LocalPostgres
from registry.artifacts import open_backend
from registry.model_version import ModelVersion
from runtime.postgres import Connection, connect
from tests.support import backtested
from tests.support.backtested import RECIPES, LoggedProduct

EVENTS = 4_000
# Every second event has a label.
LABELLED = range(0, EVENTS, 2)


def in_this_process(task: ReplayTask, parts: Sequence[LogPart], progress: Callable[[int], None]) -> Sums:
    return merged(sums for part in parts for sums in replay(task, part.batches(task.columns)))


@dataclass(frozen=True)
class World:
    """A database and a bucket with one product's log, which tests share and do not change."""

    connection: Connection
    database_url: str
    model_bucket: str
    logged: LoggedProduct

    def run(self, version: ModelVersion, engine: Engine = in_this_process, **asked: Any) -> BacktestReport:
        """Return the report of a backtest of the last days."""
        request = BacktestToRun(version.model_id, **{"days": 5, "maturity_days": 0, **asked})
        with self.connection.transaction(), self.prepared(request) as work:
            return execute(work, engine, lambda rows: None).report

    def prepared(self, request: BacktestToRun) -> AbstractContextManager[Prepared]:
        return prepared(
            self.connection,
            request,
            database_url=self.database_url,
            model_bucket=self.model_bucket,
            maturity_days=30,
            now=datetime.now(UTC),
        )


@pytest.fixture(scope="module")
def world(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    name = "backtests_shared"
    url = postgres.create_database(name, template="sira_template")
    bucket = f"file://{tmp_path_factory.mktemp('bucket')}"
    with connect(url, name="tests", autocommit=True) as connection:
        logged = backtested.add_log(connection, bucket, EVENTS)
        backtested.label(connection, logged, LABELLED)
        yield World(connection, url, bucket, logged)
    postgres.drop_database(name)


@pytest.fixture
def own_world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A smaller one that the test may change."""
    bucket = f"file://{tmp_path / 'bucket'}"
    with connect(database_url, name="tests", autocommit=True) as connection:
        yield World(connection, database_url, bucket, backtested.add_log(connection, bucket, 1_200))


def test_production_decides_its_own_log_as_it_did(world: World) -> None:
    report = world.run(world.logged.production)
    assert report.events == report.own_log.events == report.by_production == EVENTS
    assert report.flips == report.own_log.flips == 0
    assert report.own_log.max_difference <= 1e-9
    assert report.block_ratio == report.review_ratio == 1.0
    assert report.refusals == {}
    assert report.largest_flips == []


def test_the_decision_matrix_is_that_of_scoring_each_event_alone(world: World) -> None:
    report = world.run(world.logged.candidate)
    logged = world.logged
    expected: dict[tuple[str, str], list[float]] = {}
    for row, payload, (_, after) in zip(logged.rows, logged.payloads, scored(logged), strict=True):
        expected.setdefault((str(row.decision), after), []).append(payload["amount"])
    found = {(one.before, one.after): one for one in report.decisions}
    for pair, amounts in expected.items():
        assert found[pair].events == len(amounts)
        assert found[pair].amount == pytest.approx(sum(amounts), abs=0.0005 * len(amounts))
    assert sum(one.events for one in report.decisions) == EVENTS
    assert report.flips == sum(len(amounts) for (before, after), amounts in expected.items() if before != after)


def test_quality_is_what_scikit_learn_computes(world: World) -> None:
    logged, labelled = world.logged, list(LABELLED)
    report = world.run(logged.candidate)
    truth = logged.fraud[labelled].astype(int)
    after = np.array([decision for _, decision in scored(logged)])[labelled]
    amounts = np.array([payload["amount"] for payload in logged.payloads])[labelled]
    for comparison in report.quality:
        positive = (after == "block") | ((after == "review") & (comparison.positive == "review or block"))
        found = comparison.after
        backtested.assert_quality_is_scikit_learns(found, truth, positive)
        assert found.amount_caught.value == pytest.approx(amounts[(truth == 1) & positive].sum(), rel=1e-6)
        assert found.amount_missed.value == pytest.approx(amounts[(truth == 1) & ~positive].sum(), rel=1e-6)
        assert found.amount_wrongly_declined.value == pytest.approx(amounts[(truth == 0) & positive].sum(), rel=1e-6)
    assert report.labels.unlabelled == EVENTS - len(labelled)


def test_the_sweep_at_the_block_threshold_is_the_quality_of_blocking(world: World) -> None:
    report = world.run(world.logged.candidate)
    point = next(p for p in report.sweep if p.threshold == report.model.block)
    quality = report.quality[0].after
    assert (point.recall, point.precision) == (quality.recall.value, quality.precision.value)
    assert point.amount_wrongly_declined == quality.amount_wrongly_declined.value


def test_labels_of_young_events_do_not_count(world: World) -> None:
    report = world.run(world.logged.candidate, maturity_days=2)
    old = datetime.now(UTC) - timedelta(days=2)
    young = sum(row.created_at >= old.timestamp() for row in world.logged.rows)
    assert abs(report.labels.not_matured - young) <= 1
    labelled = report.labels.fraud + report.labels.legitimate
    assert labelled + report.labels.unlabelled == EVENTS - report.labels.not_matured


def test_the_latest_label_counts(own_world: World) -> None:
    for name, hour in (("fraud", 2), ("legitimate", 1)):
        own_world.connection.execute(
            "INSERT INTO sira_labels (product, event_id, label, source, labelled_at)"
            " VALUES (%s, 'event-7', %s, 't', %s)",
            (backtested.PRODUCT, name, datetime.now(UTC) - timedelta(hours=3 - hour)),
        )
    labels = own_world.run(own_world.logged.candidate).labels
    assert (labels.fraud, labels.legitimate) == (1, 0)


def test_segments_add_up_to_the_whole(world: World) -> None:
    report = world.run(world.logged.candidate, segments=["country", "amount"])
    for field in ("country", "amount"):
        assert sum(one.events for one in report.segments if one.field == field) == EVENTS
    countries = {one.value: one.events for one in report.segments if one.field == "country"}
    assert countries["FR"] == sum(payload["country"] == "FR" for payload in world.logged.payloads)


def test_a_segment_with_too_many_values_is_refused(own_world: World) -> None:
    own_world.connection.execute(
        "UPDATE sira_predictions SET payload = (payload::jsonb || jsonb_build_object('card', event_id))::json"
    )
    with pytest.raises(TooManyValues, match="card has more than 1000 values"):
        own_world.run(own_world.logged.candidate, segments=["card"])


def test_archived_days_give_the_report_that_postgres_gives(
    own_world: World,
) -> None:
    logged, connection = own_world.logged, own_world.connection
    backtested.label(connection, logged, range(0, 1_200, 3))
    asked: dict[str, Any] = {"segments": ["country", "amount"], "cost": {"fraud_allow": {"share_of_amount": 1}}}
    before = own_world.run(logged.candidate, **asked)
    closing.run(connection, ArchiveBucket(open_backend(own_world.model_bucket)), now=datetime.now(UTC) + CLOSED_AFTER)
    connection.execute("TRUNCATE sira_predictions")
    after = own_world.run(logged.candidate, local_engine(2), **asked)
    assert without_times(after) == without_times(before)


def test_a_period_without_events_is_named(world: World) -> None:
    with pytest.raises(NoEvents, match="no decided event of cards from 2020-01-01 to 2020-01-05"):
        world.run(world.logged.candidate, until="2020-01-05")


def test_sums_do_not_depend_on_how_rows_are_split(world: World) -> None:
    request = BacktestToRun(world.logged.candidate.model_id, days=5, maturity_days=0, segments=["country"])
    with world.connection.transaction(), world.prepared(request) as work:
        batches = [batch for part in work.parts for batch in part.batches(work.task.columns)]
        whole = pa.Table.from_batches(batches)
        one = merged(replay(work.task, iter(whole.combine_chunks().to_batches())))
        order = np.random.default_rng(1).permutation(len(whole))
        small = whole.take(pa.array(order)).to_batches(max_chunksize=97)
        many = merged(sums for batch in small for sums in replay(work.task, iter([batch])))
    # onnxruntime adds trees up in another order for few rows: an order of 1e-8.
    assert one.arrays["cells events"] == many.arrays["cells events"]
    assert one.arrays["cells amount"] == many.arrays["cells amount"]
    assert one.segments == many.segments
    assert [flip.event_id for flip in one.flips] == [flip.event_id for flip in many.flips]


def scored(logged: LoggedProduct) -> list[tuple[float, str]]:
    """Return the candidate's score and decision of each event, scored one at a time as a request is."""
    session = backtested.session_of(logged.candidate, RECIPES[1])
    thresholds = logged.candidate.thresholds
    found = []
    for payload in logged.payloads:
        score = float(session.score([session.feed.row(payload)])[0])
        decision = "block" if score >= thresholds.block else "review" if score >= thresholds.review else "allow"
        found.append((score, decision))
    return found


def without_times(report: BacktestReport) -> dict[str, Any]:
    return {name: getattr(report, name) for name in report.__struct_fields__ if name != "matured_before"}
