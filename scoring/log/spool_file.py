"""One spool file: SQLite (WAL, synchronous FULL), claimed by a lock that is released when its process ends."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, spooled_at REAL NOT NULL, target TEXT NOT NULL, rows INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, refused_at REAL NOT NULL, reason TEXT NOT NULL, target TEXT NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS probe (only INTEGER PRIMARY KEY CHECK (only = 1), n INTEGER NOT NULL);
"""

# `controlled` are predictions too, each with its propensity.
Target = Literal["predictions", "controlled", "paired", "trips", "reasons"]


@dataclass(frozen=True, slots=True)
class Batch:
    """`body` holds `rows` lines of COPY text for the table of `target`; `spooled_at` is in unix seconds."""

    seq: int
    spooled_at: float
    target: Target
    rows: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Backlog:
    """The rows that wait to be shipped; `oldest_at` is in unix seconds, None without any."""

    rows: int
    bytes: int
    oldest_at: float | None


class SpoolFile:
    """A claimed spool file, which holds its lock until it is closed: reading and quarantine, not the hot path."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self._db = open_database(path)
        self._db.executescript(_SCHEMA)

    @classmethod
    def claim(cls, path: Path) -> Self | None:
        """Return the file, or None if another live process holds it."""
        lock_fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_fd)
            return None
        # SQLite would create a file that everyone can read; its other files inherit this mode.
        path.touch()
        path.chmod(0o600)
        return cls(path, lock_fd)

    def batches(self, *, after_seq: int, limit: int) -> list[Batch]:
        """Return the oldest waiting batches in order."""
        rows = self._db.execute(
            "SELECT seq, spooled_at, target, rows, body FROM batches WHERE seq > ? ORDER BY seq LIMIT ?",
            (after_seq, limit),
        )
        return [Batch(*row) for row in rows]

    def backlog(self) -> Backlog:
        """Return the number, size and age of the waiting rows."""
        rows, size, oldest = self._db.execute(
            "SELECT coalesce(sum(rows), 0), coalesce(sum(length(body)), 0), min(spooled_at) FROM batches"
        ).fetchone()
        return Backlog(rows, size, oldest)

    def delete(self, through_seq: int) -> None:
        """Delete shipped batches."""
        self._db.execute("DELETE FROM batches WHERE seq <= ?", (through_seq,))

    def quarantine(self, target: Target, body: bytes, reason: str, now: float) -> None:
        """Store rows that Postgres will never accept in a table of their own, for a person to inspect."""
        self._db.execute(
            "INSERT INTO refused (refused_at, reason, target, body) VALUES (?, ?, ?, ?)", (now, reason, target, body)
        )

    def refused(self) -> int:
        """Return the number of quarantined rows."""
        return int(self._db.execute("SELECT count(*) FROM refused").fetchone()[0])

    def close(self) -> None:
        self._db.close()
        os.close(self._lock_fd)


def open_database(path: Path) -> sqlite3.Connection:
    """Return a connection whose commits are durable."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    # Some builds overwrite deleted rows with zeros, which doubles the writes that answers wait for.
    db.execute("PRAGMA secure_delete = OFF")
    # VACUUM writes a temporary copy, and /tmp may be read-only.
    db.execute("PRAGMA temp_store = MEMORY")
    return db


def shrink(db: sqlite3.Connection) -> None:
    """Return empty pages and the write-ahead log to the disk. Rewrites everything that the file still holds."""
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def paths(directory: Path) -> Iterator[Path]:
    """Yield the paths of all possible spool files, without end."""
    number = 0
    while True:
        yield directory / f"spool-{number}.sqlite"
        number += 1


def orphans(directory: Path) -> Iterator[SpoolFile]:
    """Claim and yield the spool files of dead processes, one at a time; the caller closes each."""
    for path in sorted(directory.glob("spool-*.sqlite")):
        if file := SpoolFile.claim(path):
            yield file
