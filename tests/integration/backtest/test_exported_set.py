"""A backtest of archived days beside scikit-learn on the set that `archive export` writes of the same days."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas
import pytest

from archive import closing
from archive.export import export
from archive.parts.bucket import ArchiveBucket
from archive.parts.payload_fields import PREFIX
from archive.plan import CLOSED_AFTER
from backtest.figures.description import BacktestReport
from backtest.request import BacktestToRun
from backtest.run import execute, local_engine, prepared
from backtest.sources.parts import ArchivedPart
from registry.artifacts import open_backend
from registry.model_version import ModelVersion
from runtime.postgres import Connection, connect
from tests.support import backtested
from tests.support.backtested import RECIPES, LoggedProduct, assert_quality_is_scikit_learns

EVENTS = 1_500
NOW = datetime.now(UTC)
YESTERDAY = (NOW - timedelta(days=1)).date()
FIRST = (NOW - timedelta(days=5)).date()


@dataclass(frozen=True)
class ArchivedWorld:
    """Closed days of a product, all of them archived; every third event has no label."""

    connection: Connection
    database_url: str
    model_bucket: str
    logged: LoggedProduct

    def run(self, version: ModelVersion) -> BacktestReport:
        request = BacktestToRun(version.model_id, days=5, until=str(YESTERDAY), maturity_days=0)
        with prepared(
            self.connection,
            request,
            database_url=self.database_url,
            model_bucket=self.model_bucket,
            maturity_days=30,
            now=datetime.now(UTC),  # labels of later do not count
        ) as work:
            assert {type(part) for part in work.parts} == {ArchivedPart}
            return execute(work, local_engine(2), lambda rows: None).report


@pytest.fixture
def archived(database_url: str, tmp_path: Path) -> Iterator[ArchivedWorld]:
    bucket = f"file://{tmp_path / 'bucket'}"
    with connect(database_url, name="tests", autocommit=True) as connection:
        logged = backtested.add_log(connection, bucket, EVENTS)
        backtested.label(connection, logged, [place for place in range(EVENTS) if place % 3])
        closing.run(connection, ArchiveBucket(open_backend(bucket)), now=NOW + CLOSED_AFTER)
        yield ArchivedWorld(connection, database_url, bucket, logged)


@pytest.fixture
def exported(archived: ArchivedWorld, tmp_path: Path) -> Any:
    """The labelled events of the same days, as pandas reads them."""
    out = tmp_path / "train.parquet"
    export(
        archived.database_url,
        ArchiveBucket(open_backend(archived.model_bucket)),
        product=backtested.PRODUCT,
        since=FIRST,
        until=YESTERDAY,
        only_labelled=True,
        out=str(out),
        progress=lambda total, read: None,
        statement_timeout_ms=60_000,
    )
    return pandas.read_parquet(out)


def test_production_decides_its_own_archived_log_as_it_did(archived: ArchivedWorld) -> None:
    report = archived.run(archived.logged.production)
    assert report.events == report.own_log.events == EVENTS
    assert report.flips == report.own_log.flips == 0
    assert report.own_log.max_difference <= 1e-9


def test_the_logged_decisions_quality_is_scikit_learns_on_the_exported_set(
    archived: ArchivedWorld, exported: Any
) -> None:
    fraud = (exported["label"] == "fraud").to_numpy()
    assert len(exported) == EVENTS - EVENTS // 3
    assert fraud.any()
    report = archived.run(archived.logged.candidate)
    assert_quality_is_scikit_learns(report.quality[0].before, fraud, (exported["decision"] == "block").to_numpy())
    assert_quality_is_scikit_learns(
        report.quality[1].before, fraud, exported["decision"].isin(["review", "block"]).to_numpy()
    )


def test_the_candidates_quality_is_scikit_learns_on_the_exported_set(archived: ArchivedWorld, exported: Any) -> None:
    candidate = archived.logged.candidate
    session = backtested.session_of(candidate, RECIPES[1])
    payloads = exported[[PREFIX + field.name for field in candidate.signature.fields]].rename(
        columns=lambda name: name.removeprefix(PREFIX)
    )
    score = session.score([session.feed.row(payload) for payload in payloads.to_dict("records")])
    fraud = (exported["label"] == "fraud").to_numpy()
    report = archived.run(candidate)
    assert_quality_is_scikit_learns(report.quality[0].after, fraud, score >= candidate.thresholds.block)
    assert_quality_is_scikit_learns(report.quality[1].after, fraud, score >= candidate.thresholds.review)
