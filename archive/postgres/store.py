"""What Postgres has of a day, and its copy of what the manifests say. The caller owns the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from archive.errors import ArchiveBusy, ArchiveNotMigrated, LockLost
from archive.parts.manifest import DATASETS, Dataset, Folder, Manifest
from archive.postgres.statements import QUERIES, TABLE
from runtime.postgres import Connection


@dataclass(frozen=True, slots=True)
class ArchivedDay:
    """A row of sira_archive_days; `hours` is by the hour as text."""

    kind: Dataset
    product: str
    day: date
    rows: int
    bytes: int
    parts: int
    hours: Mapping[str, int]
    archived_at: datetime
    verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class HourOfLog:
    """The rows of an hour of a product as each source has counted them."""

    product: str
    hour: datetime
    shipped: int
    counted: int
    archived: int
    lost: int

    def missing(self, rows: int) -> int:
        """Return how many rows are missing if Postgres has `rows`; those that are known to be lost are not."""
        return max(0, max(self.shipped, self.counted, self.archived) - max(rows, self.archived) - self.lost)


def is_migrated(connection: Connection) -> bool:
    return bool(connection.execute(QUERIES["tables"], {"names": ["sira_archive_days"]}).fetchall())


def has_days(connection: Connection) -> bool:
    """Return whether any day of the log is archived; False before migration 007."""
    return is_migrated(connection) and newest_archived(connection, "log") is not None


def is_locked(connection: Connection) -> bool:
    """Return whether a process archives this database at the moment."""
    row = connection.execute(QUERIES["is_locked"]).fetchone()
    assert row is not None
    return bool(row[0])


class ArchiveLock:
    """The lock that one archiving process holds as long as its connection lives."""

    def __init__(self, connection: Connection) -> None:
        """Take the lock; raises ArchiveNotMigrated or ArchiveBusy."""
        if not is_migrated(connection):
            raise ArchiveNotMigrated
        self._connection = connection
        row = connection.execute(QUERIES["take_lock"]).fetchone()
        if row is None or not row[0]:
            raise ArchiveBusy
        self._pid = connection.info.backend_pid

    def check(self) -> None:
        """Raise LockLost, or psycopg.OperationalError, if another process may hold the lock by now."""
        row = self._connection.execute(QUERIES["still_connected"]).fetchone()
        if row is None or row[0] != self._pid:
            raise LockLost


def datasets(connection: Connection) -> list[Dataset]:
    """Return the datasets whose tables exist in this database."""
    rows = connection.execute(QUERIES["tables"], {"names": list(TABLE.values())}).fetchall()
    existing = {name for (name,) in rows}
    return [kind for kind in DATASETS if TABLE[kind] in existing]


def count_rows(connection: Connection, kind: Dataset, day: date) -> dict[str, dict[int, int]]:
    """Return the rows that Postgres has of a day, by product and hour."""
    found: dict[str, dict[int, int]] = {}
    for product, hour, rows in connection.execute(QUERIES[f"count_{kind}"], {"day": day}):
        found.setdefault(product, {})[hour] = rows
    return dict(sorted(found.items()))


def days_behind(connection: Connection, newest: date) -> list[date]:
    """Return the closed days, up to `newest`, whose predictions are not all in the archive."""
    oldest = _first(connection, "oldest_day", {})
    if oldest is None:
        return []
    rows = connection.execute(QUERIES["days_behind"], {"oldest": oldest, "newest": newest}).fetchall()
    return [day for (day,) in rows]


def oldest_label(connection: Connection) -> date | None:
    return _first(connection, "oldest_label", {})


def oldest_day(connection: Connection) -> date | None:
    """Return the oldest day with a partition of the log."""
    return _first(connection, "oldest_day", {})


def first_day(connection: Connection, product: str) -> date | None:
    """Return the oldest day of a product's predictions, in Postgres or in the archive."""
    return _first(connection, "first_day", {"product": product})


def newest_archived(connection: Connection, kind: Dataset) -> date | None:
    return _first(connection, "newest_archived", {"kind": kind})


def record_day(connection: Connection, manifest: Manifest) -> None:
    """Copy a manifest's counts to Postgres."""
    values = {
        "kind": manifest.kind,
        "product": manifest.product,
        "day": manifest.day,
        "rows": manifest.rows,
        "bytes": manifest.bytes,
        "parts": len(manifest.parts),
        "hours": Jsonb({str(hour): rows for hour, rows in manifest.hours.items()}),
    }
    connection.execute(QUERIES["record_day"], values)


def record_verified(connection: Connection, folder: Folder) -> None:
    values = {"kind": folder.kind, "product": folder.product, "day": folder.day}
    connection.execute(QUERIES["record_verified"], values)


def recorded_days(
    connection: Connection,
    *,
    product: str | None = None,
    kind: Dataset | None = None,
    since: date | None = None,
    until: date | None = None,
) -> list[ArchivedDay]:
    """Return the archived days in order; `since` and `until` are included."""
    values = {"product": product, "kind": kind, "since": since, "until": until}
    with connection.cursor(row_factory=class_row(ArchivedDay)) as cursor:
        return cursor.execute(QUERIES["recorded_days"], values).fetchall()


def hours_of_log(connection: Connection, since: datetime) -> list[HourOfLog]:
    """Return what each source has counted, oldest hour first."""
    return [HourOfLog(*row) for row in connection.execute(QUERIES["hours_of_log"], {"since": since})]


def accept_loss(connection: Connection, product: str, hour: datetime, rows: int, *, reason: str, actor: str) -> None:
    """Record that rows of an hour are lost: they are no longer missing, and no longer keep their day in Postgres."""
    values = {"product": product, "hour": hour, "rows": rows, "reason": reason, "actor": actor}
    connection.execute(QUERIES["accept_loss"], values)


def drop_shipped_hours(connection: Connection) -> int:
    """Delete reports of hours that no worker reports any more; return how many."""
    return connection.execute(QUERIES["drop_shipped_hours"]).rowcount


def labels_of(connection: Connection, product: str, event_ids: Sequence[str]) -> dict[str, str]:
    """Return the label that counts of each event that has one, by event id."""
    values = {"product": product, "event_ids": event_ids}
    return dict(connection.execute(QUERIES["labels_of"], values).fetchall())


def days_to_drop(connection: Connection, retention_days: int) -> list[date]:
    """Return the days of the log that are older than the retention, oldest first."""
    return [day for (day,) in connection.execute(QUERIES["days_to_drop"], {"retention_days": retention_days})]


def drop_day(connection: Connection, day: date) -> int:
    """Drop the partitions of a day and return how many; 0 if the database finds that the archive lacks rows."""
    row = connection.execute(QUERIES["drop_day"], {"day": day}).fetchone()
    assert row is not None
    return int(row[0])


def _first(connection: Connection, query: str, values: Mapping[str, object]) -> date | None:
    row = connection.execute(QUERIES[query], values).fetchone()
    return None if row is None else row[0]
