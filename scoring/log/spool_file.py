"""The spool of one process: a folder of segments, claimed by a lock that is released when the process ends.

Reading, marking what was shipped, and setting rows aside; spool.py writes.
"""

import fcntl
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from runtime import metrics
from scoring.log import segment, set_aside
from scoring.log.frame import HEADER_BYTES, Group, Header, Point, Target, UnknownTarget, find, group_at, header_at
from scoring.log.leftovers import look_through
from scoring.log.segment import FIRST_FRAME, Segment
from scoring.log.set_aside import RefusedRow

log = logging.getLogger("sira.scoring.spool")

READ_BYTES = 4 << 20
PREFIX = "spool-"


@dataclass(frozen=True, slots=True)
class Reading:
    """Groups in order, at least one; where they end; and whether more were waiting behind them."""

    groups: list[Group]
    end: Point
    more: bool


class SpoolFile:
    """A claimed spool, which holds its lock until it is closed. One thread reads; another may append segments."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self.left = look_through(path)
        self.segments = deque(self.left.used)
        self.release: Callable[[Segment], None] = lambda shipped: segment.remove(shipped.path)
        self._fd: int | None = None  # of the oldest segment

    @classmethod
    def claim(cls, path: Path) -> Self | None:
        """Return the spool in a folder, or None if another live process holds it."""
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            segment.sync_folder(path.parent)
        lock_fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_fd)
            return None
        try:
            return cls(path, lock_fd)
        except BaseException:
            os.close(lock_fd)  # or no process could claim it until this one ends
            raise

    @property
    def shipped_through(self) -> Point | None:
        """The place of the oldest row that waits; None if the spool was never written to."""
        return self.segments[0].shipped if self.segments else None

    @property
    def waiting_rows(self) -> int:
        """The number of rows on disk that are not shipped."""
        return self.segments[-1].written.rows - self.segments[0].shipped.rows if self.segments else 0

    def read(self, max_rows: int) -> Reading | None:
        """Return the oldest groups: at most `max_rows` rows, but at least one group; None if nothing waits.

        Without `shipped`, the same groups are returned again. Damaged bytes are kept in a file, and skipped. Raises
        OSError, and UnknownTarget if a newer version wrote the oldest group.
        """
        while self.segments:
            # Before `written`: once there is a later segment, nothing is added to this one.
            later = len(self.segments) > 1
            oldest = self.segments[0]
            if oldest.shipped.offset < oldest.written.offset:
                if reading := self._read(oldest, max_rows):
                    return reading
            elif later:
                self._leave(oldest)
            else:
                return None
        return None

    def shipped(self, reading: Reading) -> None:
        """Note that Postgres has the groups of a reading."""
        self._shipped(self.segments[0], reading.end)

    def oldest_at(self) -> float | None:
        """Return when the oldest group that waits was spooled, in unix seconds."""
        if not self.segments or self.segments[0].shipped.offset >= self.segments[0].written.offset:
            return None
        oldest = self.segments[0]
        header = header_at(self._bytes(oldest, oldest.shipped.offset, HEADER_BYTES), 0, oldest.number)
        return header.spooled_at if header else None

    def quarantine(self, target: Target, line: bytes, reason: str, now: float) -> None:
        """Keep a row that Postgres will never accept in a file of its own, for a person to inspect."""
        set_aside.keep_refused(self.path, target, line, reason, now)

    def refused(self) -> list[RefusedRow]:
        """Return the rows that Postgres refused, oldest first."""
        return set_aside.refused_rows(self.path)

    def remove_shipped(self) -> None:
        """Remove all segments if nothing waits in them."""
        if self.waiting_rows == 0 and self.read(1) is None:
            for one in (*self.segments, *self.left.spare):
                segment.remove(one.path)
            self.segments.clear()

    def close(self) -> None:
        self._close_segment()
        os.close(self._lock_fd)

    def _read(self, oldest: Segment, max_rows: int) -> Reading | None:
        """Return groups of the segment, or move `shipped` over a part that has none."""
        start, end = oldest.shipped, oldest.written
        data = self._bytes(oldest, start.offset, min(end.offset - start.offset, READ_BYTES))
        header = header_at(data, 0, oldest.number, start.offset)
        if header is not None and len(data) < header.end.offset - start.offset <= end.offset - start.offset:
            data = self._bytes(oldest, start.offset, header.end.offset - start.offset)
        groups: list[Group] = []
        rows, place = 0, start
        while place.offset < end.offset:
            index = place.offset - start.offset
            header = header_at(data, index, oldest.number, start.offset)
            try:
                group = group_at(data, index, header) if header else None
            except UnknownTarget:
                if groups:
                    break
                raise
            if header is None or group is None or (groups and rows + group.rows > max_rows):
                break
            place = header.end
            rows += group.rows
            if group.rows:  # the writer's probes have none
                groups.append(group)
        if groups:
            return Reading(groups, place, place.offset < end.offset)
        if place == start:
            place = self._set_aside(oldest, start, end)
        self._shipped(oldest, place)
        return None

    def _set_aside(self, damaged: Segment, start: Point, end: Point) -> Point:
        """Keep a part that was acknowledged and is damaged; return where the next frame begins."""
        data = self._bytes(damaged, start.offset, end.offset - start.offset)
        following: Header | None = find(data, 1, damaged.number, start.offset, min_seq=start.seq + 1)
        place = following.start if following else end
        kept = set_aside.keep_damaged(
            self.path, damaged.number, start.offset, data[: place.offset - start.offset].rstrip(b"\0")
        )
        rows = place.rows - start.rows
        log.error("spool_damaged", extra={"file": str(kept), "groups": place.seq - start.seq, "rows": rows})
        metrics.log_damaged.inc(max(1, rows))
        return place

    def _shipped(self, oldest: Segment, place: Point) -> None:
        oldest.shipped = place
        segment.write_mark(self._open(oldest), oldest.number, place)

    def _leave(self, done: Segment) -> None:
        """Go on with the next segment, whose mark then says which group comes first."""
        self._close_segment()
        self.segments.popleft()
        following = self.segments[0]
        try:
            if following.shipped.offset == FIRST_FRAME:
                self._shipped(following, following.shipped)
        finally:
            if following.path != done.path:
                self.release(done)

    def _bytes(self, oldest: Segment, offset: int, size: int) -> bytes:
        return segment.read(self._open(oldest), offset, size).data

    def _open(self, oldest: Segment) -> int:
        if self._fd is None:
            self._fd = os.open(oldest.path, os.O_RDWR | os.O_CLOEXEC)
        return self._fd

    def _close_segment(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def paths(directory: Path) -> Iterator[Path]:
    """Yield the folders of all possible spools, without end."""
    number = 0
    while True:
        yield directory / f"{PREFIX}{number}"
        number += 1


def orphans(directory: Path) -> Iterator[SpoolFile]:
    """Claim and yield the spools of dead processes, one at a time; the caller closes each.

    One that cannot be opened does not hide those after it.
    """
    for path in sorted(directory.glob(f"{PREFIX}*")):
        try:
            file = SpoolFile.claim(path) if path.is_dir() else None
        except OSError:
            log.exception("spool_not_opened", extra={"folder": path.name})
            continue
        if file is not None:
            yield file
