"""Dropping days of the log that the archive has."""

import logging
from datetime import UTC, datetime

from archive.closing import run
from archive.parts.bucket import ArchiveBucket
from archive.postgres import store
from archive.verification import verify_day
from runtime.postgres import Connection

log = logging.getLogger("sira.archive")


def drop_archived_days(connection: Connection, bucket: ArchiveBucket, *, retention_days: int) -> int:
    """Drop the days of the log that are older than the retention; return the number of partitions.

    Each is archived and verified once more before. A day that fails stays, and the reason is in the log.
    """
    dropped = 0
    for day in store.days_to_drop(connection, retention_days):
        run(connection, bucket, now=datetime.now(UTC), days=[day])
        checks = verify_day(connection, bucket, day)
        for check in checks:
            for fault in check.faults:
                log.error(
                    "archived_day_kept",
                    extra={"day": str(day), "kind": check.kind, "product": check.product, "fault": fault},
                )
        partitions = 0 if any(check.faults for check in checks) else store.drop_day(connection, day)
        if not partitions:
            log.error("partition_not_dropped", extra={"day": str(day)})
        dropped += partitions
    return dropped
