"""A day is dropped from Postgres only when the archive has all of it."""

from pathlib import Path
from typing import Any

import pytest

from archive import retention
from archive.job import ArchiveJob
from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Folder
from archive.plan import newest_closed
from archive.postgres import store
from archive.verification import FolderCheck, verify_day
from runtime.postgres import Connection
from tests.support.archived_log import NOW, add_reasons, days_ago, pairs_of, rows, rows_of, run, ship_rows

OLD = days_ago(35)


def rows_in_postgres(connection: Connection) -> int:
    found = connection.execute("SELECT count(*) FROM sira_predictions").fetchone()
    assert found
    return int(found[0])


def faults(checks: list[FolderCheck]) -> list[str]:
    return [fault for check in checks for fault in check.faults]


def drop(connection: Connection, bucket: ArchiveBucket) -> int:
    return retention.drop_archived_days(connection, bucket, retention_days=31)


def has_partition(connection: Connection, day: Any) -> bool:
    found = connection.execute("SELECT to_regclass(%s)", (f"sira_predictions_{day:%Y%m%d}",)).fetchone()
    return found is not None and found[0] is not None


def test_an_old_day_is_archived_and_then_dropped(connection: Connection, bucket: ArchiveBucket) -> None:
    logged = rows_of(OLD, 30)
    ship_rows(connection, [*logged, *rows_of(days_ago(2), 4, prefix="new")], pairs_of(logged[:3]))
    assert drop(connection, bucket) > 0
    assert not has_partition(connection, OLD)
    assert rows_in_postgres(connection) == 4
    assert {row["event_id"] for row in rows(bucket)} == {row.event_id for row in logged}


def test_days_within_the_retention_stay(connection: Connection, bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(days_ago(31), 3))
    drop(connection, bucket)
    assert has_partition(connection, days_ago(31))
    assert not has_partition(connection, days_ago(32))


def test_late_rows_of_a_day_are_archived_before_it_is_dropped(connection: Connection, bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(OLD, 30))
    run(connection, bucket)
    ship_rows(connection, rows_of(OLD, 5, prefix="late"))
    drop(connection, bucket)
    assert len(rows(bucket)) == 35


def test_the_database_refuses_to_drop_a_day_that_was_not_verified(
    connection: Connection, folder_bucket: ArchiveBucket
) -> None:
    ship_rows(connection, rows_of(OLD, 30))
    run(connection, folder_bucket)
    assert store.drop_day(connection, OLD) == 0
    verify_day(connection, folder_bucket, OLD)
    assert store.drop_day(connection, OLD) > 0


def test_the_database_refuses_to_drop_a_day_with_a_row_since_it_was_verified(
    connection: Connection, folder_bucket: ArchiveBucket
) -> None:
    ship_rows(connection, rows_of(OLD, 30))
    run(connection, folder_bucket)
    verify_day(connection, folder_bucket, OLD)
    ship_rows(connection, rows_of(OLD, 1, prefix="late"))
    assert store.drop_day(connection, OLD) == 0


def test_the_database_refuses_to_drop_a_day_of_which_counted_rows_are_missing(
    connection: Connection, folder_bucket: ArchiveBucket
) -> None:
    ship_rows(connection, rows_of(OLD, 30))
    connection.execute("DELETE FROM sira_predictions WHERE event_id = 'e3'")
    drop(connection, folder_bucket)
    assert has_partition(connection, OLD)


def test_a_day_that_stays_does_not_keep_others(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    ship_rows(connection, [*rows_of(OLD, 30), *rows_of(days_ago(34), 3, prefix="next")])
    connection.execute("DELETE FROM sira_predictions WHERE event_id = 'e3'")
    drop(connection, folder_bucket)
    assert has_partition(connection, OLD)
    assert not has_partition(connection, days_ago(34))


@pytest.mark.parametrize("damage", [b"", b"another file"])
def test_a_day_whose_part_is_damaged_stays(
    connection: Connection, folder_bucket: ArchiveBucket, tmp_path: Path, damage: bytes
) -> None:
    ship_rows(connection, rows_of(OLD, 30))
    run(connection, folder_bucket)
    part = tmp_path / "bucket" / Folder("log", "cards", OLD).key("part-00000.parquet")
    part.write_bytes(damage)
    drop(connection, folder_bucket)
    assert has_partition(connection, OLD)
    assert "sha256" in faults(verify_day(connection, folder_bucket, OLD))[0]


def test_a_day_whose_part_is_gone_stays(connection: Connection, folder_bucket: ArchiveBucket, tmp_path: Path) -> None:
    ship_rows(connection, rows_of(OLD, 30))
    run(connection, folder_bucket)
    (tmp_path / "bucket" / Folder("log", "cards", OLD).key("part-00000.parquet")).unlink()
    drop(connection, folder_bucket)
    assert has_partition(connection, OLD)
    assert "missing" in faults(verify_day(connection, folder_bucket, OLD))[0]


def test_other_rows_of_the_same_number_are_noticed(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(OLD, 24))
    run(connection, folder_bucket)
    connection.execute("UPDATE sira_predictions SET prediction_id = gen_random_uuid() WHERE event_id = 'e3'")
    assert "1 rows of Postgres are not archived although" in faults(verify_day(connection, folder_bucket, OLD))[0]


def test_rows_that_are_not_archived_yet_are_named(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(OLD, 24))
    assert "24 rows of Postgres are not archived yet" in faults(verify_day(connection, folder_bucket, OLD))[0]


def test_reasons_are_archived_and_dropped_with_their_day(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    connection.execute("SELECT sira_make_reasons_partitions(%s, %s)", (OLD, OLD))
    logged = rows_of(OLD, 24)
    ship_rows(connection, logged)
    add_reasons(connection, logged[:5])
    drop(connection, folder_bucket)
    assert {row["prediction_id"] for row in rows(folder_bucket, "reasons")} == {row.prediction_id for row in logged[:5]}
    assert connection.execute("SELECT count(*) FROM sira_prediction_reasons").fetchone() == (0,)


def test_the_job_archives_and_drops_in_a_process_of_its_own(
    connection: Connection, database_url: str, model_bucket: str, bucket: ArchiveBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MODEL_BUCKET", model_bucket)
    ship_rows(connection, [*rows_of(OLD, 30), *rows_of(days_ago(2), 4, prefix="new")])
    job = ArchiveJob(31)
    assert job.work(connection) > 2
    assert rows_in_postgres(connection) == 4
    assert len(rows(bucket)) == 34
    assert job.work(connection) == 0


def test_the_job_leaves_the_work_to_the_process_that_has_the_lock(
    connection: Connection, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MODEL_BUCKET", f"file://{tmp_path}")
    ship_rows(connection, rows_of(days_ago(2), 4))
    assert not store.is_locked(connection)
    store.ArchiveLock(connection)
    assert store.is_locked(connection)
    assert ArchiveJob(31).work(connection) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_job_does_nothing_on_a_database_without_the_tables(connection: Connection) -> None:
    connection.execute("DROP TABLE sira_archive_days")
    assert ArchiveJob(31).work(connection) == 0


def test_a_job_that_was_stopped_starts_nothing(connection: Connection) -> None:
    job = ArchiveJob(31)
    job.stop()
    assert job.work(connection) == 0


def test_a_closed_day_that_is_not_archived_is_behind(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(OLD, 2))
    closed = newest_closed(NOW)
    assert store.days_behind(connection, closed) == [OLD]
    run(connection, folder_bucket)
    assert store.days_behind(connection, closed) == []
