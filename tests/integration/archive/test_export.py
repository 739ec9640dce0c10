"""A training set has every answered event once, from the archive and from Postgres."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest

from archive.parts.bucket import ArchiveBucket
from archive.retention import drop_archived_days
from runtime.postgres import Connection
from scoring.log.prediction import with_propensity
from tests.conftest import S3
from tests.support.archived_log import ROOT, add_labels, add_version, at, days_ago, rows_of, run, ship_rows

FIRST, LAST = days_ago(35), days_ago(0)


def archive(*words: str, database_url: str, bucket: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": database_url, "MODEL_BUCKET": bucket}
    command = [sys.executable, "-m", "archive", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


@pytest.fixture
def export(database_url: str, model_bucket: str, tmp_path: Path) -> Any:
    def run_export(*words: str, product: str = "cards") -> list[dict[str, Any]]:
        out = tmp_path / "train.parquet"
        done = archive(
            *("export", "--product", product, "--out", str(out), "--json", *words),
            database_url=database_url,
            bucket=model_bucket,
        )
        assert done.returncode == 0, done.stderr
        found = pq.read_table(out).to_pylist()
        assert json.loads(done.stdout)["events"] == len(found)
        return list(found)

    return run_export


def ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return sorted(row["event_id"] for row in rows)


def test_events_of_archived_dropped_and_present_days_are_exported_once(
    connection: Connection, bucket: ArchiveBucket, export: Any
) -> None:
    logged = rows_of(FIRST, 30) + rows_of(days_ago(2), 30, prefix="recent")
    ship_rows(connection, logged)
    drop_archived_days(connection, bucket, retention_days=31)
    run(connection, bucket)
    late = rows_of(days_ago(2), 5, prefix="late") + rows_of(LAST, 5, prefix="today")
    ship_rows(connection, late)
    assert ids(export()) == sorted(row.event_id for row in logged + late)


def test_a_row_has_fields_label_decision_score_and_propensity(
    connection: Connection, bucket: ArchiveBucket, export: Any
) -> None:
    add_version(connection, "cards", {"amount": "double", "country": "string"})
    day = days_ago(3)
    ship_rows(connection, rows_of(day, 2, payload='{"amount":7,"country":"FR"}', score=0.95, decision="block"))
    add_labels(connection, "cards", ["e1"], at(day, 20))
    run(connection, bucket)
    first, second = sorted(export(), key=lambda row: str(row["event_id"]))
    created = second.pop("created_at")
    assert created == datetime.fromtimestamp(at(day, 12), UTC)
    second.pop("prediction_id")
    assert second == {
        "event_id": "e1",
        "model_version": "1",
        "score": 0.95,
        "decision": "block",
        "outcome": "ok",
        "label": "fraud",
        "propensity": 0.0,
        "field_amount": 7.0,
        "field_country": "FR",
    }
    assert first["label"] is None


def test_the_propensity_is_the_probability_with_which_an_event_passed(
    connection: Connection, bucket: ArchiveBucket, export: Any
) -> None:
    plain = rows_of(days_ago(3), 3)
    wanted = {"score": 0.95, "decision": "block"}
    blocked, reviewed = rows_of(days_ago(2), 1, prefix="b", **wanted), rows_of(days_ago(2), 1, prefix="r", score=0.95)
    ship_rows(connection, [*plain, *blocked, *(with_propensity(row, 0.02) for row in reviewed)])
    run(connection, bucket)
    late = [with_propensity(row, 0.0) for row in rows_of(LAST, 1, prefix="l", **wanted)]
    ship_rows(connection, late)
    found = {row["event_id"]: row["propensity"] for row in export()}
    assert found == {"e0": 1.0, "e1": 1.0, "e2": 1.0, "b0": 0.0, "r0": 0.02, "l0": 0.0}


def test_days_that_were_archived_before_propensities_are_exported_without(
    connection: Connection, bucket: ArchiveBucket, export: Any
) -> None:
    connection.execute("ALTER TABLE sira_predictions DROP COLUMN propensity CASCADE")
    ship_rows(connection, rows_of(days_ago(3), 2) + rows_of(LAST, 1, prefix="today"))
    run(connection, bucket)
    assert [row["propensity"] for row in export()] == [1.0] * 3


def test_the_latest_label_of_an_event_counts(connection: Connection, export: Any) -> None:
    ship_rows(connection, rows_of(days_ago(3), 1))
    for label, labelled_at in (("legitimate", 3), ("fraud", 1), ("fraud", 2)):
        connection.execute(
            "INSERT INTO sira_labels (product, event_id, label, source, labelled_at) VALUES"
            " ('cards', 'e0', %s, 'review', to_timestamp(%s))",
            (label, labelled_at),
        )
    assert [row["label"] for row in export()] == ["legitimate"]


def test_only_labelled_events_are_exported_on_request(connection: Connection, export: Any) -> None:
    ship_rows(connection, rows_of(days_ago(3), 10))
    add_labels(connection, "cards", ["e2", "e5"], at(days_ago(1)))
    assert ids(export("--labels")) == ["e2", "e5"]


def test_an_event_counts_once_with_its_first_answer(connection: Connection, export: Any) -> None:
    day = days_ago(3)
    failed = rows_of(
        day, 1, model_id="6f9619ff-8b86-d011-b42d-00c04fc964fa", score=None, decision=None, outcome="error"
    )
    answered = rows_of(day, 1, score=0.5, created_at=at(day, 1))
    again = rows_of(day, 1, score=0.7, created_at=at(day, 2), model_id="6f9619ff-8b86-d011-b42d-00c04fc964fb")
    ship_rows(connection, [*failed, *answered, *again])
    assert [row["score"] for row in export()] == [0.5]


def test_days_outside_the_range_and_other_products_are_left_out(connection: Connection, export: Any) -> None:
    for ago in (3, 4, 5):
        ship_rows(connection, rows_of(days_ago(ago), 1, prefix=f"d{ago}-"))
    ship_rows(connection, rows_of(days_ago(4), 1, product="wallets"))
    assert ids(export("--from", str(days_ago(4)), "--to", str(days_ago(4)))) == ["d4-0"]


def test_an_export_to_s3_is_one_object(connection: Connection, database_url: str, s3: S3, tmp_path: Path) -> None:
    ship_rows(connection, rows_of(days_ago(3), 5))
    done = archive(
        *("export", "--product", "cards", "--out", f"{s3.url}/sets/train.parquet"),
        database_url=database_url,
        bucket=s3.url,
    )
    assert "5 events, 0 with a label" in done.stdout
    boto3.client("s3").download_file(s3.bucket, "sets/train.parquet", str(tmp_path / "train.parquet"))
    assert pq.read_metadata(tmp_path / "train.parquet").num_rows == 5


@pytest.mark.parametrize(
    ("out", "fault"),
    [("train.csv", "must end in .parquet"), ("s3:///x.parquet", "BUCKET/KEY"), ("ftp://a/x.parquet", "must be a file")],
)
def test_an_output_that_cannot_be_written_is_refused(database_url: str, tmp_path: Path, out: str, fault: str) -> None:
    done = archive("export", "--product", "cards", "--out", out, database_url=database_url, bucket=f"file://{tmp_path}")
    assert done.returncode == 1
    assert fault in done.stderr


def test_a_product_without_events_is_named(database_url: str, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    done = archive(
        *("export", "--product", "cards", "--out", str(out)), database_url=database_url, bucket=f"file://{tmp_path}"
    )
    assert done.returncode == 1
    assert "cards has no such events" in done.stderr
    assert not out.exists()
