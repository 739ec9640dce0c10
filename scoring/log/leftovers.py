"""What an earlier process left in the folder of a spool: which segments, and what waits in them."""

import logging
from dataclasses import dataclass
from pathlib import Path

from runtime import metrics
from scoring.log import segment, set_aside
from scoring.log.frame import Point, named_segment
from scoring.log.segment import FIRST_FRAME, SUFFIX, Content, Scan, Segment, Title

log = logging.getLogger("sira.scoring.spool")

_NEW = Point(FIRST_FRAME, 1, 0, 0)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Segments in use, oldest first, and spare ones. `last_number`: the largest ever used; `end`: of the last frame."""

    used: list[Segment]
    spare: list[Segment]
    last_number: int

    @property
    def end(self) -> Point:
        return self.used[-1].written if self.used else _NEW


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    title: Title
    size: int
    scan: Scan
    mark: Point | None
    unreadable: bool = False  # a block that may have had the last frames


def look_through(folder: Path) -> Leftovers:
    """Read every segment of a folder, one at a time, and remove those whose creation was interrupted."""
    found = sorted(filter(None, map(_read, sorted(folder.glob(f"*{SUFFIX}")))), key=lambda one: one.title.number)
    used: list[Segment] = []
    before: _Found | None = None
    for one in found:
        if not one.title.spare:
            if before is not None:
                _leave_out_refused(used[-1], before.scan, one.scan)
            _append(used, one)
            before = one
    spare = [Segment(one.path, one.title.number, one.size, _NEW, _NEW) for one in found if one.title.spare]
    numbers = (one.number for one in (*used, *spare))
    # A number that is used twice would replace the file of an earlier damage.
    return Leftovers(used, spare, max((*numbers, *set_aside.damaged_segments(folder)), default=0))


def _read(path: Path) -> _Found | None:
    content = segment.read_all(path)
    data = content.data
    title = segment.read_title(data)
    if title is None:
        number = named_segment(data)
        if number is None:
            _put_away(path, content)
            return None
        log.error("spool_segment_title_damaged", extra={"segment": path.name})
        title = Title(number, spare=False)
    if title.spare:
        return _Found(path, title, len(data), Scan(None, None, None), None)
    scan, mark = segment.scan(data, title.number), segment.read_mark(data, title.number)
    end = max(FIRST_FRAME, scan.end.offset if scan.end else 0, mark.offset if mark else 0)
    unreadable = any(offset + segment.BLOCK_BYTES > end for offset in content.unreadable)
    return _Found(path, title, len(data), scan, mark, unreadable)


def _put_away(path: Path, content: Content) -> None:
    """Remove a file that has no title and no frame if nothing was written to it; otherwise keep it for a person."""
    if not content.unreadable and not content.data.strip(b"\0"):
        segment.remove(path)
        return
    kept = set_aside.keep_file(path)
    log.error("spool_damaged", extra={"file": str(kept), "groups": 0, "rows": 0})
    metrics.log_damaged.inc()


def _leave_out_refused(before: Segment, written: Scan, following: Scan) -> None:
    """End a segment before its last group if the next segment begins with the same one, which replaced it.

    The disk refused to sync that group, but its bytes may be there.
    """
    first, last = following.first, written.last
    if first is None or last is None or first.start.offset != FIRST_FRAME or first.start.seq != last.start.seq:
        return
    if before.shipped.offset <= last.start.offset < before.written.offset:
        before.written = last.start


def _append(used: list[Segment], found: _Found) -> None:
    """Add the next segment; if frames are missing before it, the end of the one before it is damaged."""
    before = used[-1] if used else None
    first = found.scan.first
    if first is not None and first.start.offset == FIRST_FRAME:
        start = first.start
        if before is not None and start.seq > before.written.seq:
            before.written = start._replace(offset=before.size)
    elif before is not None:
        start = before.written._replace(offset=FIRST_FRAME)
    elif first is not None:
        start = Point(FIRST_FRAME, first.start.seq - 1, first.start.rows, first.start.bytes)
    else:
        start = found.mark or _NEW
    shipped = found.mark or start
    # A shipped frame may have been damaged since.
    end = max(found.scan.end or start, shipped, key=lambda point: point.offset)
    if found.unreadable:
        end = end._replace(offset=found.size)
    used.append(Segment(found.path, found.title.number, found.size, shipped, end))
