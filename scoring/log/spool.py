"""The local log that answers wait for: groups of batches, each written and synced by one system call.

Each serving process claims a spool of its own with a lock. A process that dies leaves its segments behind; another
process claims them and ships their rows.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scoring.log import segment
from scoring.log.frame import HEADER_BYTES, Point, Target, encode, shape
from scoring.log.segment import FIRST_FRAME, Segment, Title
from scoring.log.segment_supply import SegmentSupply
from scoring.log.spool_file import Reading, SpoolFile, paths
from scoring.observations import Observations

RETRY_SECONDS = 1.0
# A segment is a small part of the limit, because two more than the waiting rows fill take space on the disk.
MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES, SEGMENTS_PER_LIMIT = 8 << 20, 1 << 20, 128
# More batches than this wait for the next write, so that a group stays small beside a segment.
MAX_GROUP_BYTES = 1 << 20


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


class Spool:
    """This process's own spool. `append` returns at once; `committed` is called once the rows are on disk."""

    def __init__(self, file: SpoolFile, *, limit_bytes: int, segment_bytes: int | None = None) -> None:
        self.file = file
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        start = file.left.end
        # Totals since the spool was new, like those of a Point; they include batches that are not on disk yet.
        self._bytes, self._rows = start.bytes, start.rows
        self._commits = Observations()
        self._failure: SpoolError | None = None
        self._full = False
        self._next = start
        self._needed_bytes = 0
        self._next_number = file.left.last_number + 1
        self._current: Segment | None = None
        self._fd = -1
        size = segment_bytes or min(MAX_SEGMENT_BYTES, max(MIN_SEGMENT_BYTES, limit_bytes // SEGMENTS_PER_LIMIT))
        self._room_bytes = size - FIRST_FRAME
        self._supply = SegmentSupply(file.path, size, file.left.spare)
        file.release = self._supply.give_back
        self._appends: queue.SimpleQueue[_Append | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="spool-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, directory: Path, *, limit_bytes: int, segment_bytes: int | None = None) -> Self:
        """Claim the first free spool of the folder; those of dead processes come before new ones."""
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths(directory):
            if file := SpoolFile.claim(path):
                return cls(file, limit_bytes=limit_bytes, segment_bytes=segment_bytes)
        raise AssertionError("unreachable: the paths never end")

    def append(self, target: Target, body: bytes, rows: int, now: float, committed: Committed) -> None:
        """Queue a batch. The writer's thread calls `committed` with None once it is durable, or with the error."""
        # Beyond the limit too: one line per rollout, which no caller waits for, and the controller needs.
        if target != "trips" and self.waiting_bytes + len(body) > self.limit_bytes:
            self._full = self.waiting_bytes > 0
            committed(SpoolFull(self.limit_bytes))
            return
        with self._lock:
            self._bytes += len(body)
            self._rows += rows
        self._appends.put(_Append(now, target, rows, body, committed))

    def shipped(self, reading: Reading) -> None:
        """Note that Postgres has the groups of a reading. Call it from the thread that reads."""
        self.file.shipped(reading)
        self._full = False

    @property
    def writable(self) -> bool:
        """False while writes fail, or after the limit was reached until rows are shipped.

        If none wait, none will be shipped: a batch that is larger than the limit must not make it False for good.
        """
        waiting = self.waiting_bytes
        return self._failure is None and not (self._full and waiting) and waiting < self.limit_bytes

    @property
    def waiting_rows(self) -> int:
        shipped = self.file.shipped_through
        return self._rows - (shipped.rows if shipped else 0)

    @property
    def waiting_bytes(self) -> int:
        shipped = self.file.shipped_through
        return self._bytes - (shipped.bytes if shipped else 0)

    def take_commits(self) -> Observations:
        """Return how many seconds groups have taken to be durable, counted since the last call."""
        with self._lock:
            taken, self._commits = self._commits, Observations()
        return taken

    def close(self) -> None:
        """Write the queued batches, then release the spool."""
        self._appends.put(None)
        self._thread.join()
        self._supply.close()
        self.file.close()

    def _write(self) -> None:
        while (first := self._first()) is not None:
            group = self._gather(first)
            started = time.perf_counter()
            self._failure = self._commit(group)
            with self._lock:
                if self._failure is None:
                    self._commits.add(time.perf_counter() - started)
                else:
                    self._bytes -= sum(len(append.body) for append in group)
                    self._rows -= sum(append.rows for append in group)
            for append in group:
                append.committed(self._failure)
        if self._current is not None:
            os.close(self._fd)

    def _first(self) -> _Append | None:
        """Return the next append; after a failed write, probe the disk every second so that readiness returns."""
        while self._failure:
            try:
                return self._appends.get(timeout=RETRY_SECONDS)
            except queue.Empty:
                self._failure = self._commit([])
        return self._appends.get()

    def _gather(self, first: _Append) -> list[_Append]:
        """Return the batch and those that arrived during the last write: they share this one."""
        group, size = [first], len(first.body)
        while size < min(MAX_GROUP_BYTES, self._room_bytes // 2) and not self._appends.empty():
            append = self._appends.get_nowait()
            if append is None:
                self._appends.put(None)
                break
            group.append(append)
            size += len(append.body)
        return group

    def _commit(self, group: Sequence[_Append]) -> SpoolError | None:
        """Write and sync a group. One that failed is overwritten by the next, so that it does not come back."""
        try:
            self._put(group)
        except OSError as error:
            return SpoolUnwritable(error.strerror or str(error))
        return None

    def _put(self, group: Sequence[_Append]) -> None:
        contents = shape(group)
        size = HEADER_BYTES + len(contents.body)
        # After a failure, room for the largest refused group: the disk of a full spool must not seem well to a probe.
        # If it was larger than a segment, only groups like it are refused: others may have the room they need.
        self._needed_bytes = max(size, self._needed_bytes)
        current = self._room_for(max(size, min(self._needed_bytes, self._room_bytes)))
        spooled_at = group[0].spooled_at if group else 0.0
        buffers = encode(current.number, self._next, spooled_at, contents)
        offset, seq, rows_before, bytes_before = self._next
        if os.pwritev(self._fd, buffers, offset) != size:
            raise OSError("a write was cut short")
        self._next = Point(offset + size, seq + 1, rows_before + sum(contents.rows), bytes_before + len(contents.body))
        current.written = self._next
        self._needed_bytes = 0
        if offset < current.size // 2 <= self._next.offset:
            self._supply.prepare()

    def _room_for(self, size: int) -> Segment:
        """Return the current segment, or the next one if the group does not fit. Raises OSError."""
        current = self._current
        if current is not None and self._next.offset + size <= current.size:
            return current
        path, number = self._next_path(FIRST_FRAME + size), self._next_number
        self._next_number += 1
        fd = segment.open_for_writing(path)
        try:
            segment.write_title(fd, Title(number, spare=False))
        except OSError:
            os.close(fd)
            raise
        start = self._next._replace(offset=FIRST_FRAME)
        following = Segment(path, number, os.fstat(fd).st_size, start, start)
        if current is None:
            # Two from the start: on a disk that others fill, they are used in turn while Postgres takes rows.
            self._supply.prepare()
        else:
            os.close(self._fd)
        self._fd, self._current, self._next = fd, following, start
        self.file.segments.append(following)
        return following

    def _next_path(self, size: int) -> Path:
        try:
            return self._supply.take(size)
        except OSError:
            # On a full disk the only segment must be used again, or the spool would stay full with nothing in it. An
            # earlier process may have left it.
            last = self.file.segments[-1] if self.file.segments else None
            if last is None or last.size < size or last.shipped != last.written:
                raise
            return last.path
