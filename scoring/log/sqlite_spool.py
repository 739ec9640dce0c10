"""Spools of version 1, in SQLite: their rows are shipped, and the files removed. Only reading is left."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from scoring.log.frame import Group, Point
from scoring.log.spool_file import PREFIX, Reading, SpoolFile

MAX_BATCHES = 400


class SqliteSpool:
    """A claimed file; its lock is released when it is closed."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)

    @classmethod
    def claim(cls, path: Path) -> Self | None:
        """Return the spool in a file, or None if another live process holds it or has removed it."""
        lock_fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_fd)
            return None
        if not path.exists():
            os.close(lock_fd)
            return None
        return cls(path, lock_fd)

    def read(self, max_rows: int) -> Reading | None:
        """Return the oldest batches: at most `max_rows` rows, but at least one batch; None if nothing waits."""
        groups: list[Group] = []
        rows = last = 0
        for seq, spooled_at, target, count, body in self._select(
            "SELECT seq, spooled_at, target, rows, body FROM batches ORDER BY seq LIMIT ?", MAX_BATCHES
        ):
            if groups and rows + count > max_rows:
                break
            groups.append(Group(spooled_at, count, {target: body}))
            rows, last = rows + count, seq
        return Reading(groups, Point(0, last, 0, 0), more=True) if groups else None

    def shipped(self, reading: Reading) -> None:
        """Delete the batches of a reading."""
        self._db.execute("DELETE FROM batches WHERE seq <= ?", (reading.end.seq,))

    def remove(self, kept_in: SpoolFile) -> None:
        """Remove the file, whose batches were shipped; rows that Postgres refused are kept in another spool."""
        for row in self._select("SELECT target, body, reason, refused_at FROM refused ORDER BY seq"):
            kept_in.quarantine(*row)
        self._db.close()
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()

    def close(self) -> None:
        self._db.close()
        os.close(self._lock_fd)

    def _select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows; none if the process that made the file died before it made the tables."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


def sqlite_spools(directory: Path) -> Iterator[SqliteSpool]:
    """Claim and yield the SQLite spools that no live process holds, one at a time; the caller closes each."""
    for path in sorted(directory.glob(f"{PREFIX}*.sqlite")):
        if file := SqliteSpool.claim(path):
            yield file
