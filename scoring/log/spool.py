"""The local log that answers wait for: batches, group-committed to SQLite (WAL, synchronous FULL).

Each serving process claims a file of its own with a lock. A process that dies leaves its file behind; another process
claims it and ships its rows. Measured on a virtual disk: a median of 0.24 ms for a commit of 18 kB.
"""

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scoring.log.spool_file import Batch, SpoolFile, Target, open_database, paths, shrink

RETRY_SECONDS = 1.0
# Disk space kept free: deleting rows and checkpointing each worker's write-ahead log (4 MiB) need space too. A disk
# that is filled completely would stay full although Postgres has every row.
RESERVE_BYTES = 32 << 20
# Bytes written between two checks of the free space: a small part of the reserve.
SPACE_CHECK_BYTES = 1 << 20
_INSERT = "INSERT INTO batches (spooled_at, target, rows, body) VALUES (?, ?, ?, ?)"


class SpoolError(Exception):
    """A row cannot become durable."""


class SpoolFull(SpoolError):
    """The spool has reached its limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the spool is full ({limit_bytes} bytes): nothing is answered until Postgres accepts rows again"
        )


class SpoolUnwritable(SpoolError):
    """The disk refuses writes, or has too little space left."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the spool cannot be written: {reason}")


Committed = Callable[[SpoolError | None], None]


@dataclass(slots=True)
class _Append:
    spooled_at: float
    target: Target
    rows: int
    body: bytes
    committed: Committed

    def columns(self) -> tuple[float, Target, int, bytes]:
        return self.spooled_at, self.target, self.rows, self.body


class Spool:
    """This process's own spool. `append` returns at once; `committed` is called once the rows are on disk."""

    def __init__(self, file: SpoolFile, *, limit_bytes: int) -> None:
        self.file = file
        self.limit_bytes = limit_bytes
        waiting = file.backlog()
        self._lock = threading.Lock()
        self._bytes = waiting.bytes
        self._rows = waiting.rows
        self._delete_through = 0
        self._failure: SpoolError | None = None
        self._full = False
        self._unchecked_bytes = SPACE_CHECK_BYTES
        self._writer = open_database(file.path)
        self._appends: queue.SimpleQueue[_Append | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="spool-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, directory: Path, *, limit_bytes: int) -> Self:
        """Claim the first free spool file of the folder; files of dead processes come before new ones."""
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths(directory):
            if file := SpoolFile.claim(path):
                return cls(file, limit_bytes=limit_bytes)
        raise AssertionError("unreachable: the paths never end")

    def append(self, target: Target, body: bytes, rows: int, now: float, committed: Committed) -> None:
        """Queue a batch. The writer's thread calls `committed` with None once it is durable, or with the error."""
        # Beyond the limit too: one line per rollout, which no caller waits for, and the controller needs.
        if target != "trips" and self._bytes + len(body) > self.limit_bytes:
            self._full = True
            committed(SpoolFull(self.limit_bytes))
            return
        with self._lock:
            self._bytes += len(body)
            self._rows += rows
        self._appends.put(_Append(now, target, rows, body, committed))

    def shipped(self, batches: list[Batch]) -> None:
        """Drop batches that Postgres has; the writer's next commit deletes them."""
        with self._lock:
            self._full = False
            self._delete_through = batches[-1].seq
            self._bytes -= sum(len(batch.body) for batch in batches)
            self._rows -= sum(batch.rows for batch in batches)

    @property
    def writable(self) -> bool:
        """False while commits fail, or after the limit was reached until rows are shipped."""
        return self._failure is None and not self._full and self._bytes < self.limit_bytes

    @property
    def waiting_rows(self) -> int:
        return self._rows

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """Commit the queued batches, then release the file."""
        self._appends.put(None)
        self._thread.join()
        self._writer.close()
        if self._delete_through:
            self.file.delete(self._delete_through)
        self.file.close()

    def _write(self) -> None:
        while (first := self._next()) is not None:
            group = [first]
            # Batches that arrived during the last commit share this one.
            while not self._appends.empty():
                item = self._appends.get_nowait()
                if item is None:
                    self._appends.put(None)
                    break
                group.append(item)
            no_room = self._no_room_for(group)
            self._failure = self._commit([] if no_room else group) or no_room
            if self._failure:
                with self._lock:
                    self._bytes -= sum(len(append.body) for append in group)
                    self._rows -= sum(append.rows for append in group)
            for append in group:
                append.committed(self._failure)

    def _next(self) -> _Append | None:
        """Return the next append; after a failed commit, probe the disk every second so that readiness returns."""
        while self._failure:
            try:
                return self._appends.get(timeout=RETRY_SECONDS)
            except queue.Empty:
                self._failure = self._commit([]) or self._no_room()
        return self._appends.get()

    def _no_room_for(self, group: Sequence[_Append]) -> SpoolError | None:
        """Check free space every SPACE_CHECK_BYTES only, because each check costs a GIL hand-over."""
        self._unchecked_bytes += sum(len(append.body) for append in group)
        if self._unchecked_bytes < SPACE_CHECK_BYTES and self._failure is None:
            return None
        self._unchecked_bytes = 0
        return self._no_room()

    def _no_room(self) -> SpoolError | None:
        """Return an error if less than the reserve is left, on the disk and in empty pages of the file together."""
        needed_bytes = bytes_to_leave(self._bytes, refusing=self._failure is not None)
        if _free_bytes(self.file.path) >= needed_bytes:
            return None
        try:
            empty_bytes = _empty_bytes(self._writer)
            if self._bytes < SPACE_CHECK_BYTES < empty_bytes:
                # Return empty pages so that the files of other workers can use the space. If there is too little space
                # to do so, this file can still reuse its pages.
                with contextlib.suppress(sqlite3.OperationalError):
                    shrink(self._writer)
                empty_bytes = _empty_bytes(self._writer)
        except sqlite3.Error as error:
            return SpoolUnwritable(str(error))
        return (
            None if _free_bytes(self.file.path) + empty_bytes >= needed_bytes else SpoolUnwritable("its disk is full")
        )

    def _commit(self, group: Sequence[_Append]) -> SpoolError | None:
        db = self._writer
        delete, self._delete_through = self._delete_through, 0
        try:
            if len(group) == 1 and not delete:
                # One statement, because each one costs the event loop another GIL hand-over.
                db.execute(_INSERT, group[0].columns())
                return None
            db.execute("BEGIN IMMEDIATE")
            for append in group:
                db.execute(_INSERT, append.columns())
            if delete:
                db.execute("DELETE FROM batches WHERE seq <= ?", (delete,))
            if not group:
                db.execute("INSERT INTO probe VALUES (1, 1) ON CONFLICT (only) DO UPDATE SET n = n + 1")
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._delete_through = max(self._delete_through, delete)
            if db.in_transaction:
                db.execute("ROLLBACK")
            return SpoolUnwritable(str(error))
        return None


def bytes_to_leave(waiting_bytes: int, *, refusing: bool) -> int:
    """Return the free space that is needed to accept rows: more to resume than to continue, while many rows wait.

    Otherwise the next check would find the disk full again.
    """
    return RESERVE_BYTES + (SPACE_CHECK_BYTES if refusing and waiting_bytes > SPACE_CHECK_BYTES else 0)


def _free_bytes(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def _empty_bytes(db: sqlite3.Connection) -> int:
    pages, page_bytes = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    return int(pages) * int(page_bytes)
