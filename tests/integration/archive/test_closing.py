"""Days of the log become Parquet: exactly their rows, each once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archive import closing
from archive.errors import ArchiveBusy, ArchiveNotMigrated, DayTooRecent
from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Dataset, Folder, Manifest
from archive.plan import newest_closed
from archive.postgres import store
from runtime.postgres import Connection, connect
from scoring.log.prediction import with_propensity
from tests.support.archived_log import (
    NOW,
    add_labels,
    add_version,
    at,
    days_ago,
    pairs_of,
    rows,
    rows_of,
    run,
    ship_rows,
)

DAY = days_ago(3)


def manifest(bucket: ArchiveBucket, kind: Dataset = "log") -> Manifest:
    return bucket.manifest(Folder(kind, "cards", DAY))


@contextmanager
def another(connection: Connection) -> Iterator[Connection]:
    with connect(connection.info.dsn + f" password={connection.info.password}", name="o", autocommit=True) as opened:
        yield opened


def test_a_day_without_rows_leaves_nothing(connection: Connection, bucket: ArchiveBucket) -> None:
    assert run(connection, bucket) == []
    assert list(bucket.manifests()) == []


def test_every_column_of_a_row_is_archived_as_it_was_logged(connection: Connection, bucket: ArchiveBucket) -> None:
    logged = rows_of(DAY, 30, payload='{"amount":12.5,"note":"a \\"quoted\\", line\\n"}', routing_key="card 7")
    logged[:2] = [with_propensity(logged[0], 0.05), with_propensity(logged[1], 0.0)]
    ship_rows(connection, logged)
    run(connection, bucket)
    found = {row["prediction_id"]: row for row in rows(bucket)}
    for row in logged:
        archived = found[row.prediction_id]
        assert archived.pop("created_at").timestamp() == pytest.approx(row.created_at, abs=1e-6)
        assert archived.pop("payload_sha256") is None
        assert (archived.pop("field_amount"), archived.pop("field_note")) == (12.5, 'a "quoted", line\n')
        assert archived == {name: getattr(row, name, None) for name in archived}


def test_odd_text_survives(connection: Connection, bucket: ArchiveBucket) -> None:
    odd = ["", " ", '"', "a,b", "x\ny", "\\N", "'", "é\u2028", "NULL"]
    odd += ["\\", "\\n", "\\\\n", "a\\tb\tc", "\b\f\r\v", "\\x41"]  # what COPY escapes
    logged = rows_of(DAY, 1)[:0]
    for number, text in enumerate(odd):
        logged += rows_of(DAY, 1, prefix=f"{number}{text}", routing_key=text or "empty")
    ship_rows(connection, logged)
    run(connection, bucket)
    assert {(row["event_id"], row["routing_key"]) for row in rows(bucket)} == {
        (row.event_id, row.routing_key) for row in logged
    }


def test_a_routing_key_that_equals_the_event_id_is_null(connection: Connection, bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(DAY, 1))
    run(connection, bucket)
    assert [row["routing_key"] for row in rows(bucket)] == [None]


def test_a_payloads_digest_is_kept_where_it_is_not_that_of_the_text(
    connection: Connection, bucket: ArchiveBucket
) -> None:
    ship_rows(connection, rows_of(DAY, 1, payload_sha256="not the digest"))
    run(connection, bucket)
    assert [row["payload_sha256"] for row in rows(bucket)] == ["not the digest"]


def test_the_manifest_counts_rows_per_hour(connection: Connection, bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(DAY, 48))
    run(connection, bucket)
    found = manifest(bucket)
    assert found.rows == 48
    assert found.hours == dict.fromkeys(range(24), 2)
    assert [day.hours for day in store.recorded_days(connection)] == [{str(hour): 2 for hour in range(24)}]


def test_a_second_run_writes_nothing(connection: Connection, bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(DAY, 5))
    assert len(run(connection, bucket)) == 1
    assert run(connection, bucket) == []


def test_the_day_that_is_not_over_is_left(connection: Connection, bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(days_ago(0), 5))
    assert run(connection, bucket) == []
    with pytest.raises(DayTooRecent):
        closing.run(connection, bucket, now=NOW, days=[days_ago(0)])


def test_a_day_is_closed_an_hour_after_its_end() -> None:
    midnight = datetime(2026, 11, 27, tzinfo=UTC)
    assert newest_closed(midnight + timedelta(minutes=59)).isoformat() == "2026-11-25"
    assert newest_closed(midnight + timedelta(minutes=60)).isoformat() == "2026-11-26"


def test_late_rows_append_one_part_with_just_these(connection: Connection, bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(DAY, 40))
    run(connection, bucket)
    ship_rows(connection, rows_of(DAY, 7, prefix="late"))
    assert [part.rows for part in run(connection, bucket)] == [7]
    assert [part.rows for part in manifest(bucket).parts] == [40, 7]
    assert len({row["prediction_id"] for row in rows(bucket)}) == 47


def test_paired_predictions_and_labels_are_archived_too(connection: Connection, bucket: ArchiveBucket) -> None:
    logged = rows_of(DAY, 20)
    ship_rows(connection, logged, pairs_of(logged[:6]))
    add_labels(connection, "cards", ["e1", "e2"], at(DAY, 13))
    run(connection, bucket)
    assert {row["event_id"] for row in rows(bucket, "paired")} == {row.event_id for row in logged[:6]}
    assert {(row["event_id"], row["label"]) for row in rows(bucket, "labels")} == {("e1", "fraud"), ("e2", "fraud")}
    assert manifest(bucket, "labels").hours == {13: 2}


def test_a_late_label_and_a_late_pair_append_a_part(connection: Connection, bucket: ArchiveBucket) -> None:
    logged = rows_of(DAY, 20)
    ship_rows(connection, logged, pairs_of(logged[:6]))
    add_labels(connection, "cards", ["e1"], at(DAY, 13))
    run(connection, bucket)
    ship_rows(connection, rows_of(DAY, 1), pairs_of(logged[6:8]))
    add_labels(connection, "cards", ["e2"], at(DAY, 13))
    run(connection, bucket)
    assert [part.rows for part in manifest(bucket, "paired").parts] == [6, 2]
    assert [part.rows for part in manifest(bucket, "labels").parts] == [1, 1]


def test_each_product_has_a_folder_of_its_own(connection: Connection, bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(DAY, 3))
    ship_rows(connection, rows_of(DAY, 2, product="wallets"))
    run(connection, bucket)
    assert (len(rows(bucket)), len(rows(bucket, product="wallets"))) == (3, 2)


def test_a_large_day_becomes_several_parts(
    connection: Connection, folder_bucket: ArchiveBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive.plan.plan_parts.__defaults__", (10,))
    ship_rows(connection, rows_of(DAY, 48))
    run(connection, folder_bucket)
    assert [part.rows for part in manifest(folder_bucket).parts] == [10, 10, 10, 10, 8]


def test_the_type_of_a_field_follows_from_the_signatures(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    add_version(connection, "cards", {"amount": "double", "count": "int64", "country": "string", "new": "bool"})
    ship_rows(connection, rows_of(DAY, 2, payload='{"amount":1,"count":2,"country":"US","device":"x"}'))
    run(connection, folder_bucket)
    found = manifest(folder_bucket)
    with folder_bucket.local(found.folder, found.parts[0]) as path:
        schema = pq.read_schema(path)
    assert {name: schema.field(f"field_{name}").type for name in ("amount", "count", "country", "new", "device")} == {
        "amount": pa.float64(),
        "count": pa.int64(),
        "country": pa.string(),
        "new": pa.bool_(),
        "device": pa.string(),
    }


def test_all_parts_of_a_day_have_the_same_columns(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(DAY, 4, payload='{"amount":1,"device":"x"}'))
    run(connection, folder_bucket)
    ship_rows(connection, rows_of(DAY, 4, prefix="late", payload='{"amount":true,"later":1}'))
    run(connection, folder_bucket)
    found = manifest(folder_bucket)
    schemas = []
    for part in found.parts:
        with folder_bucket.local(found.folder, part) as path:
            schemas.append(pq.read_schema(path))
    assert len(schemas) == 2
    assert schemas[0].equals(schemas[1])
    assert [row["field_amount"] for row in rows(folder_bucket)] == [1.0] * 4 + [None] * 4


def test_one_process_archives_at_a_time(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    with another(connection) as other:
        store.ArchiveLock(other)
        with pytest.raises(ArchiveBusy):
            run(connection, folder_bucket)
    run(connection, folder_bucket)


def test_a_database_without_the_tables_is_refused(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    connection.execute("DROP TABLE sira_archive_days")
    with pytest.raises(ArchiveNotMigrated):
        run(connection, folder_bucket)


def test_a_postgres_that_was_set_back_does_not_replace_what_is_archived(
    connection: Connection, bucket: ArchiveBucket
) -> None:
    ship_rows(connection, rows_of(DAY, 40))
    run(connection, bucket)
    connection.execute("DELETE FROM sira_predictions WHERE event_id < 'e2'")
    connection.execute("DELETE FROM sira_prediction_hours")
    connection.execute("DELETE FROM sira_archive_days")
    assert run(connection, bucket) == []
    assert len(rows(bucket)) == 40
    assert [day.rows for day in store.recorded_days(connection)] == [40]


def test_what_a_killed_job_left_is_replaced(
    connection: Connection, folder_bucket: ArchiveBucket, tmp_path: Path
) -> None:
    ship_rows(connection, rows_of(DAY, 9))
    left = tmp_path / "bucket/log/product=cards" / f"day={DAY}" / "part-00000.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a file")
    run(connection, folder_bucket)
    assert len(rows(folder_bucket)) == 9
    assert [path.name for path in sorted(left.parent.iterdir())] == [
        "_manifest.json",
        "_part-00000.ids",
        "part-00000.parquet",
    ]
