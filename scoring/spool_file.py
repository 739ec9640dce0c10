"""One file of the local log: SQLite (WAL, synchronous FULL), claimed by a lock that ends with its process."""

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

Target = Literal["predictions", "paired", "trips"]


@dataclass(frozen=True, slots=True)
class Batch:
    """`body` is `rows` lines of COPY text for the table `target` stands for; `spooled_at` is unix seconds."""

    seq: int
    spooled_at: float
    target: Target
    rows: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be shipped; `oldest_at` is unix seconds, None when nothing waits."""

    rows: int
    bytes: int
    oldest_at: float | None


class SpoolFile:
    """A claimed spool file: holds its lock until closed. Reading and setting rows aside; not the hot path."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self._db = open_database(path)
        self._db.executescript(_SCHEMA)

    @classmethod
    def claim(cls, path: Path) -> Self | None:
        """The file, or None when another live process holds it."""
        lock_fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_fd)
            return None
        # Before SQLite opens it, which would let everyone read the payloads; its other files take after this one.
        path.touch()
        path.chmod(0o600)
        return cls(path, lock_fd)

    def batches(self, *, after_seq: int, most: int) -> list[Batch]:
        """The oldest waiting batches, in order."""
        rows = self._db.execute(
            "SELECT seq, spooled_at, target, rows, body FROM batches WHERE seq > ? ORDER BY seq LIMIT ?",
            (after_seq, most),
        )
        return [Batch(*row) for row in rows]

    def backlog(self) -> Backlog:
        rows, size, oldest = self._db.execute(
            "SELECT coalesce(sum(rows), 0), coalesce(sum(length(body)), 0), min(spooled_at) FROM batches"
        ).fetchone()
        return Backlog(rows, size, oldest)

    def forget(self, through_seq: int) -> None:
        self._db.execute("DELETE FROM batches WHERE seq <= ?", (through_seq,))

    def set_aside(self, target: Target, body: bytes, reason: str, now: float) -> None:
        """Keep rows that Postgres will never take, out of the way of the others, for a person to look at."""
        self._db.execute(
            "INSERT INTO refused (refused_at, reason, target, body) VALUES (?, ?, ?, ?)", (now, reason, target, body)
        )

    def refused(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM refused").fetchone()[0])

    def close(self) -> None:
        self._db.close()
        os.close(self._lock_fd)


def open_database(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    # Some builds write zeros over what is deleted: each row a second time to the disk that answers wait for.
    db.execute("PRAGMA secure_delete = OFF")
    # Shrinking writes a temporary copy, and /tmp may be read-only.
    db.execute("PRAGMA temp_store = MEMORY")
    return db


def shrink(db: sqlite3.Connection) -> None:
    """Give empty pages, and the write-ahead log, back to the disk. Costs as much as what the file still holds."""
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def paths(directory: Path) -> Iterator[Path]:
    number = 0
    while True:
        yield directory / f"spool-{number}.sqlite"
        number += 1


def orphans(directory: Path) -> Iterator[SpoolFile]:
    """Spool files of dead processes, claimed one at a time; the caller closes each."""
    for path in sorted(directory.glob("spool-*.sqlite")):
        if file := SpoolFile.claim(path):
            yield file
