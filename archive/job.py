"""The controller's job: archive closed days in a process of its own, so that ticks do not wait for it."""

import logging
from datetime import UTC, datetime

import msgspec

from archive.plan import newest_closed
from archive.postgres import store
from runtime import metrics
from runtime.child_process import ChildProcess
from runtime.postgres import Connection

log = logging.getLogger("sira.archive")

EVERY_SECONDS = 3600.0
# After the partitions are made, and not while a controller that has just started judges for the first time.
FIRST_SECONDS = 180.0


class ArchiveJob:
    """Runs `python -m archive run`. A run may be killed at any point; the next one continues."""

    def __init__(self, retention_days: int) -> None:
        self._child = ChildProcess("archive", "run", "--json", "--drop-older-than", str(retention_days))
        self._said_not_migrated = False

    def work(self, connection: Connection) -> int:
        """Archive what is due, then drop what is older than the retention; return the number of parts and days."""
        if not store.is_migrated(connection):
            if not self._said_not_migrated:
                self._said_not_migrated = True
                log.warning("archive_not_migrated", extra={"migration": "007_archive"})
            return 0
        done = 0 if store.is_locked(connection) else self._run()
        metrics.archive_days_behind.set(len(store.days_behind(connection, newest_closed(datetime.now(UTC)))))
        return done

    def stop(self) -> None:
        """End a run that is in progress."""
        self._child.stop()

    def _run(self) -> int:
        ended = self._child.ended() if self._child.start() else None
        if ended is None:
            return 0
        if ended.code:
            log.error("archiving_failed", extra={"code": ended.code, "error": ended.last_error})
            return 0
        done = msgspec.json.decode(ended.output)
        return len(done["parts"]) + int(done["dropped"])
