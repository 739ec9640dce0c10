"""The local log an answer waits for: batches group-committed to SQLite (WAL, synchronous FULL).

One file per serving process, claimed by a lock on it. A process that died leaves its file; whoever comes next
claims it and ships what it holds. Measured on a virtual disk: 0.24 ms median for a commit of 18 kB.
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

from scoring.spool_file import Batch, SpoolFile, Target, open_database, paths, shrink

RETRY_SECONDS = 1.0
# Of disk that rows never take: forgetting rows needs room too, and so does folding each worker's write-ahead log
# (4 MiB) into its file. A disk filled to the last byte would stay full although Postgres has taken every row.
RESERVE_BYTES = 32 << 20
# How much is written before the disk is asked again what it has left: a small part of the reserve.
LOOK_AGAIN_BYTES = 1 << 20
_INSERT = "INSERT INTO batches (spooled_at, target, rows, body) VALUES (?, ?, ?, ?)"


class SpoolError(Exception):
    """Base of what keeps a row from becoming durable."""


class SpoolFull(SpoolError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the spool holds its {limit_bytes} bytes: no row is answered until Postgres takes some")


class SpoolUnwritable(SpoolError):
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
    """This process's own spool: `append` returns at once, `committed` is called when the rows are on disk."""

    def __init__(self, file: SpoolFile, *, limit_bytes: int) -> None:
        self.file = file
        self.limit_bytes = limit_bytes
        waiting = file.backlog()
        self._lock = threading.Lock()
        self._bytes = waiting.bytes
        self._rows = waiting.rows
        self._forget_through = 0
        self._failure: SpoolError | None = None
        self._full = False
        self._written_unlooked = LOOK_AGAIN_BYTES
        self._writer = open_database(file.path)
        self._appends: queue.SimpleQueue[_Append | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="spool-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, directory: Path, *, limit_bytes: int) -> Self:
        """Claim the first free spool file of the folder, a dead process's before a new one."""
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths(directory):
            if file := SpoolFile.claim(path):
                return cls(file, limit_bytes=limit_bytes)
        raise AssertionError("unreachable: the paths never end")

    def append(self, target: Target, body: bytes, rows: int, now: float, committed: Committed) -> None:
        """Queue a batch. `committed(None)` follows, from the writer's thread, once it is durable; or with the error."""
        # A trip is one line a rollout, and no caller waits for it: it must reach the controller all the same.
        if target != "trips" and self._bytes + len(body) > self.limit_bytes:
            self._full = True
            committed(SpoolFull(self.limit_bytes))
            return
        with self._lock:
            self._bytes += len(body)
            self._rows += rows
        self._appends.put(_Append(now, target, rows, body, committed))

    def shipped(self, batches: list[Batch]) -> None:
        """Let go of batches that Postgres has; they leave the file with the writer's next commit."""
        with self._lock:
            self._full = False
            self._forget_through = batches[-1].seq
            self._bytes -= sum(len(batch.body) for batch in batches)
            self._rows -= sum(batch.rows for batch in batches)

    @property
    def writable(self) -> bool:
        """False while the last commit failed, or the limit is reached: rows were refused and none shipped since."""
        return self._failure is None and not self._full and self._bytes < self.limit_bytes

    @property
    def waiting_rows(self) -> int:
        return self._rows

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """Commit what is queued, then let go of the file."""
        self._appends.put(None)
        self._thread.join()
        self._writer.close()
        if self._forget_through:
            self.file.forget(self._forget_through)
        self.file.close()

    def _write(self) -> None:
        while (first := self._next()) is not None:
            group = [first]
            # Whatever arrived while the last commit was syncing shares this one.
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
        """The next append; while the last commit failed, tries the disk every second so that readiness can return."""
        while self._failure:
            try:
                return self._appends.get(timeout=RETRY_SECONDS)
            except queue.Empty:
                self._failure = self._commit([]) or self._no_room()
        return self._appends.get()

    def _no_room_for(self, group: Sequence[_Append]) -> SpoolError | None:
        """Asks the disk once in so many bytes: a call that waits for it is one more turn of the interpreter's lock."""
        self._written_unlooked += sum(len(append.body) for append in group)
        if self._written_unlooked < LOOK_AGAIN_BYTES and self._failure is None:
            return None
        self._written_unlooked = 0
        return self._no_room()

    def _no_room(self) -> SpoolError | None:
        """Less than the reserve is left, on the disk and in pages of the file that hold nothing any more."""
        needed_bytes = bytes_to_leave(self._bytes, refusing=self._failure is not None)
        if _free_bytes(self.file.path) >= needed_bytes:
            return None
        try:
            empty_bytes = _empty_bytes(self._writer)
            if self._bytes < LOOK_AGAIN_BYTES < empty_bytes:
                # What this file keeps for itself is room that those of other workers lack. Where there is no room for
                # that either, its empty pages are at least its own.
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
        forget, self._forget_through = self._forget_through, 0
        try:
            if len(group) == 1 and not forget:
                # A transaction in one statement: each one more takes the interpreter's lock from the event loop again.
                db.execute(_INSERT, group[0].columns())
                return None
            db.execute("BEGIN IMMEDIATE")
            for append in group:
                db.execute(_INSERT, append.columns())
            if forget:
                db.execute("DELETE FROM batches WHERE seq <= ?", (forget,))
            if not group:
                db.execute("INSERT INTO probe VALUES (1, 1) ON CONFLICT (only) DO UPDATE SET n = n + 1")
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._forget_through = max(self._forget_through, forget)
            if db.in_transaction:
                db.execute("ROLLBACK")
            return SpoolUnwritable(str(error))
        return None


def bytes_to_leave(waiting_bytes: int, *, refusing: bool) -> int:
    """What a disk must have left for rows to be taken: more to begin again than to go on, while many still wait.

    Otherwise the next look at the disk would find it full again.
    """
    return RESERVE_BYTES + (LOOK_AGAIN_BYTES if refusing and waiting_bytes > LOOK_AGAIN_BYTES else 0)


def _free_bytes(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def _empty_bytes(db: sqlite3.Connection) -> int:
    pages, page_bytes = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    return int(pages) * int(page_bytes)
