"""The controller's job: archive closed days in a process of its own, so that ticks do not wait for it."""

import logging
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from archive import store
from archive.plan import newest_closed
from runtime import metrics
from runtime.postgres import Connection

log = logging.getLogger("sira.archive")

EVERY_SECONDS = 3600.0
# After the partitions are made, and not while a controller that has just started judges for the first time.
FIRST_SECONDS = 180.0
ROOT = Path(__file__).parents[1]


class ArchiveJob:
    """Runs `python -m archive run`. A run may be killed at any point; the next one continues."""

    def __init__(self, retention_days: int) -> None:
        self._retention_days = retention_days
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False
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
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.terminate()

    def _run(self) -> int:
        words = [sys.executable, "-m", "archive", "run", "--json", "--drop-older-than", str(self._retention_days)]
        with self._lock:
            if self._stopped:
                return 0
            self._child = subprocess.Popen(
                words, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )  # fmt: skip
        output, errors = self._child.communicate()
        with self._lock:
            code, self._child = self._child.returncode, None
        if code == 0:
            done = msgspec.json.decode(output)
            return len(done["parts"]) + int(done["dropped"])
        if not self._stopped:
            lines = errors.decode(errors="replace").strip().splitlines()
            log.error("archiving_failed", extra={"code": code, "error": lines[-1] if lines else ""})
        return 0
