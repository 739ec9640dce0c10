"""A log that was set back, and a deleted row, are noticed with the hour and the count."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from archive.cli.commands import archive
from archive.completeness import LogCheck, missing_counts, missing_rows
from archive.parts.bucket import ArchiveBucket
from archive.postgres import store
from archive.retention import drop_archived_days
from lab.postgres import LocalPostgres
from runtime import metrics
from runtime.postgres import Connection, connect
from scoring.log.prediction import Prediction
from scoring.log.shipped_hours import ShippedHours
from scoring.log.shipper import Shipper
from scoring.log.spool import Spool
from scoring.log.spool_file import SpoolFile
from tests.support.archived_log import NOW, at, days_ago, rows_of, run, ship_rows
from tests.support.log_rows import append, prediction, wait_until

TODAY = days_ago(0)
HOUR = datetime.fromtimestamp(at(days_ago(1), 14), UTC)
OLD = days_ago(35)


def log_of_yesterday(count: int, prefix: str = "e") -> list[Prediction]:
    return [prediction(f"{prefix}{n}", created_at=HOUR.timestamp() + n) for n in range(count)]


def spool_and_ship(folder: Path, database_url: str, rows: list[Prediction]) -> None:
    """Spool and ship rows as a worker does, which then stops."""
    spool = Spool.open(folder, limit_bytes=1 << 30)
    shipper = Shipper(spool, folder, database_url)
    append(spool, rows)
    shipper.start()
    assert wait_until(lambda: spool.waiting_rows == 0)
    shipper.stop(10)
    spool.close()


@pytest.fixture
def set_back(postgres: LocalPostgres, database_url: str) -> Iterator[Callable[[], str]]:
    """`set_back()` takes a backup of the database; it returns the address of what a restore of it gives."""
    name = f"test_{uuid4().hex}"
    yield lambda: postgres.create_database(name, template=database_url.rsplit("/", 1)[1].split("?")[0])
    postgres.drop_database(name)


def gauge(product: str, hour: datetime) -> float:
    return float(metrics.log_rows_missing.labels(product, f"{hour:%Y-%m-%dT%H:00Z}")._value.get())


def test_nothing_is_missing_from_a_whole_log(connection: Connection, database_url: str, tmp_path: Path) -> None:
    spool_and_ship(tmp_path, database_url, log_of_yesterday(20))
    assert [(hour.shipped, hour.counted) for hour in store.hours_of_log(connection, HOUR)] == [(20, 20)]
    assert LogCheck().work(connection) == 0


def test_a_postgres_that_was_restored_from_an_older_backup_lacks_what_was_shipped_since(
    database_url: str, set_back: Callable[[], str], tmp_path: Path
) -> None:
    spool_and_ship(tmp_path, database_url, log_of_yesterday(20))
    restored = set_back()
    spool_and_ship(tmp_path, database_url, log_of_yesterday(7, "later"))
    spool_and_ship(tmp_path, restored, log_of_yesterday(1, "after"))
    with connect(restored, name="tests", autocommit=True) as connection:
        assert missing_counts(connection, NOW) == {("cards", HOUR): 7}
        assert LogCheck().work(connection) == 1
        assert gauge("cards", HOUR) == 7


def test_what_the_archive_has_is_not_missing(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    ship_rows(connection, rows_of(OLD, 24))
    drop_archived_days(connection, folder_bucket, retention_days=31)
    connection.execute("DELETE FROM sira_prediction_hours")
    assert LogCheck().work(connection) == 0


@pytest.mark.parametrize("day", [TODAY, days_ago(1)])
def test_a_row_that_an_administrator_deleted_is_missing(connection: Connection, day: datetime) -> None:
    ship_rows(connection, rows_of(day, 24))
    connection.execute("DELETE FROM sira_predictions WHERE event_id IN ('e3', 'e9')")
    found = missing_rows(connection, NOW)
    assert {(hour.hour, rows) for (_, hour), rows in found.items()} == {(3, 1), (9, 1)}
    assert LogCheck().work(connection) == 2


def test_a_row_that_was_deleted_after_its_day_was_archived_is_not_lost(
    connection: Connection, folder_bucket: ArchiveBucket
) -> None:
    ship_rows(connection, rows_of(days_ago(3), 24))
    run(connection, folder_bucket)
    connection.execute("DELETE FROM sira_predictions WHERE event_id = 'e3'")
    assert LogCheck().work(connection) == 0


def test_rows_that_are_back_are_no_longer_reported(connection: Connection, database_url: str, tmp_path: Path) -> None:
    check = LogCheck()
    spool_and_ship(tmp_path, database_url, log_of_yesterday(5))
    connection.execute("UPDATE sira_prediction_hours SET predictions = 3")
    assert check.work(connection) == 1
    assert gauge("cards", HOUR) == 2
    connection.execute("UPDATE sira_prediction_hours SET predictions = 5")
    assert check.work(connection) == 0
    assert gauge("cards", HOUR) == 0


def test_an_accepted_loss_ends_the_alarm_and_frees_the_day(
    connection: Connection, database_url: str, folder_bucket: ArchiveBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    ship_rows(connection, rows_of(OLD, 24))
    connection.execute("DELETE FROM sira_predictions WHERE event_id = 'e3'")
    drop_archived_days(connection, folder_bucket, retention_days=31)
    assert missing_rows(connection, NOW)
    words = ["accept", "--product", "cards", "--hour", f"{OLD}T03", "--rows", "1", "--reason", "deleted by hand"]
    done = CliRunner().invoke(archive, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert not missing_rows(connection, NOW)
    assert store.days_behind(connection, OLD) == []
    assert drop_archived_days(connection, folder_bucket, retention_days=31) > 0


def test_a_loss_of_an_hour_without_rows_is_refused(
    connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    words = ["accept", "--product", "cards", "--hour", f"{OLD}T03", "--rows", "1", "--reason", "x"]
    refused = CliRunner().invoke(archive, words)
    assert "has no rows at" in str(refused.exception)


# ---------------------------------------------------------------- what a worker keeps


@pytest.fixture
def counts(tmp_path: Path) -> Callable[[], ShippedHours]:
    def opened() -> ShippedHours:
        return ShippedHours(tmp_path / "spool-0")

    return opened


def test_counts_and_identity_survive_a_restart(counts: Callable[[], ShippedHours]) -> None:
    first = counts()
    first.add({("cards", 3600): 2, ("wallets", 7200): 1}, 10.0)
    first.add({("cards", 3600): 3}, 10.1)
    first.close()
    again = counts()
    assert again.counts() == {("cards", 3600): 5, ("wallets", 7200): 1}
    assert again.spool_id == first.spool_id
    again.close()


def test_a_row_that_is_shipped_again_is_not_counted_again(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    for _ in range(2):
        spool_and_ship(tmp_path, database_url, log_of_yesterday(4))
    assert [hour.shipped for hour in store.hours_of_log(connection, HOUR)] == [4]


def test_the_workers_of_a_product_add_up(connection: Connection, database_url: str, tmp_path: Path) -> None:
    spool_and_ship(tmp_path / "a", database_url, log_of_yesterday(4, "a"))
    spool_and_ship(tmp_path / "b", database_url, log_of_yesterday(3, "b"))
    assert [hour.shipped for hour in store.hours_of_log(connection, HOUR)] == [7]


def test_rows_are_shipped_to_a_database_without_the_table(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    connection.execute("DROP TABLE sira_shipped_hours")
    spool_and_ship(tmp_path, database_url, log_of_yesterday(4))
    assert connection.execute("SELECT count(*) FROM sira_predictions").fetchone() == (4,)


def test_a_report_never_makes_a_count_smaller(
    connection: Connection, counts: Callable[[], ShippedHours], tmp_path: Path
) -> None:
    hour = int((NOW - timedelta(hours=2)).timestamp()) // 3600 * 3600
    hours = counts()
    hours.add({("cards", hour): 5}, 0.0)
    hours.report(connection, 0.0)
    connection.execute("UPDATE sira_shipped_hours SET rows = 9")
    hours.report_all_next()
    hours.report(connection, 1.0)
    assert [one.shipped for one in store.hours_of_log(connection, NOW - timedelta(hours=3))] == [9]
    hours.close()


def test_the_counts_are_locked_with_the_spool(tmp_path: Path) -> None:
    file = SpoolFile.claim(tmp_path / "spool-0")
    assert file is not None
    assert SpoolFile.claim(tmp_path / "spool-0") is None
    file.close()
