"""Errors of the archive; each says what to do."""

from datetime import date, datetime


class ArchiveError(Exception):
    """The archive cannot do what was asked."""


class ArchiveBusy(ArchiveError):
    def __init__(self) -> None:
        super().__init__("another process is archiving; try again when it has finished")


class ArchiveNotMigrated(ArchiveError):
    def __init__(self) -> None:
        super().__init__("the database has no tables for the archive: run `python -m migrations up`")


class LockLost(ArchiveError):
    def __init__(self) -> None:
        super().__init__("the connection that holds the archive's lock was lost; run again")


class ManifestUnreadable(ArchiveError):
    def __init__(self, key: str, fault: str) -> None:
        super().__init__(f"{key} is not a manifest of this version ({fault}); restore it from the bucket's history")


class PartCorrupt(ArchiveError):
    def __init__(self, key: str, fault: str) -> None:
        super().__init__(f"{key}: {fault}; restore it from the bucket's history")


class DayTooRecent(ArchiveError):
    def __init__(self, day: date) -> None:
        super().__init__(f"{day} is not closed yet: a day is archived an hour after its end, in UTC")


class NothingToExport(ArchiveError):
    def __init__(self, product: str, since: date, until: date) -> None:
        super().__init__(f"{product} has no such events from {since} to {until}")


class OutputRefused(ArchiveError):
    """`--out` is not a place for a Parquet file."""


class NotArchived(ArchiveError):
    def __init__(self, prediction_id: str) -> None:
        super().__init__(f"{prediction_id} is not in the archive; the rows of today are in Postgres only")


class HourUnknown(ArchiveError):
    def __init__(self, product: str, hour: datetime) -> None:
        super().__init__(
            f"{product} has no rows at {hour:%Y-%m-%d %H}:00 UTC; SiraLogRowsMissing names product and hour"
        )
