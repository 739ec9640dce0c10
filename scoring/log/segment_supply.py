"""Prepares the next segment in a thread of its own, so that a row never waits for eight megabytes of zeros."""

import contextlib
import itertools
import os
import queue
import threading
from collections.abc import Iterable
from pathlib import Path

from scoring.log import segment
from scoring.log.segment import SUFFIX, Segment, Title

# Disk space kept free: the same disk may hold models, counts and rows that Postgres refused.
RESERVE_BYTES = 32 << 20


class DiskFull(OSError):
    """A new segment would leave less than the reserve."""

    def __init__(self) -> None:
        super().__init__("its disk is full")


class SegmentSupply:
    """At most one spare segment is kept; `spares`: those that an earlier process left."""

    def __init__(self, folder: Path, segment_bytes: int, spares: Iterable[Segment]) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._changed = threading.Condition()
        self._ready: Path | None = None
        self._failure: OSError | None = None
        self._jobs: queue.SimpleQueue[int | Segment | None] = queue.SimpleQueue()
        for spare in spares:
            self._jobs.put(spare)
        self._thread = threading.Thread(target=self._run, name="spool-segments", daemon=True)
        self._thread.start()
        self.prepare()

    def prepare(self) -> None:
        """Have a segment ready when it is needed. Returns at once; safe to repeat."""
        self._jobs.put(self._segment_bytes)

    def take(self, size: int) -> Path:
        """Return a spare segment of at least `size` bytes, waiting until there is one. Raises OSError."""
        size = max(size, self._segment_bytes)
        with self._changed:
            self._failure = None
            if not self._is_ready(size):
                self._jobs.put(size)
            self._changed.wait_for(lambda: self._failure or self._is_ready(size))
            if self._failure is not None:
                raise self._failure
            taken, self._ready = self._ready, None
        assert taken is not None
        return taken

    def give_back(self, shipped: Segment) -> None:
        """Accept a segment of which everything was shipped. Returns at once."""
        self._jobs.put(shipped)

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _is_ready(self, size: int) -> bool:
        """Return whether a segment is ready that has the size and was not removed by someone else."""
        try:
            return self._ready is not None and self._ready.stat().st_size >= size
        except OSError:
            return False

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if isinstance(job, Segment):
                self._accept(job)
            else:
                self._create(job)

    def _accept(self, shipped: Segment) -> None:
        """Keep the segment for the next use if none is ready, or else return its space to the disk."""
        with contextlib.suppress(OSError):
            if self._ready is None and shipped.size == self._segment_bytes:
                segment.rename(shipped.path, Title(shipped.number, spare=True))
                self._offer(shipped.path)
            else:
                segment.remove(shipped.path)

    def _create(self, size: int) -> None:
        if self._is_ready(size):
            return
        with self._changed:
            if self._ready is not None and not self._ready.exists():
                self._ready = None  # or the new file, which gets the same name, would be taken before it is complete
        try:
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < size + RESERVE_BYTES:
                raise DiskFull
            paths = (self._folder / f"{number}{SUFFIX}" for number in itertools.count())
            path = next(path for path in paths if not path.exists())
            segment.create(path, size)
        except OSError as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()
            return
        self._offer(path)

    def _offer(self, path: Path) -> None:
        with self._changed:
            replaced, self._ready = self._ready, path
            self._changed.notify_all()
        if replaced is not None:
            with contextlib.suppress(OSError):  # this thread must not end: each new segment comes from it
                segment.remove(replaced)
