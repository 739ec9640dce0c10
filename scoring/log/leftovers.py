"""What an earlier process left in the folder of a spool: which segments, and what waits in them."""

import logging
from dataclasses import dataclass
from pathlib import Path

from scoring.log import segment
from scoring.log.frame import Point, named_segment
from scoring.log.segment import FIRST_FRAME, SUFFIX, Scan, Segment, Title

log = logging.getLogger("sira.scoring.spool")

_NEW = Point(FIRST_FRAME, 1, 0, 0)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Segments in use, oldest first, and spare ones. `last_number`: the largest of both; `end`: of the last frame."""

    used: list[Segment]
    spare: list[Segment]

    @property
    def last_number(self) -> int:
        return max((one.number for one in (*self.used, *self.spare)), default=0)

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


def look_through(folder: Path) -> Leftovers:
    """Read every segment of a folder, and remove those whose creation was interrupted."""
    found = sorted(filter(None, map(_read, sorted(folder.glob(f"*{SUFFIX}")))), key=lambda one: one.title.number)
    used: list[Segment] = []
    for one in found:
        if not one.title.spare:
            _append(used, one)
    spare = [Segment(one.path, one.title.number, one.size, _NEW, _NEW) for one in found if one.title.spare]
    return Leftovers(used, spare)


def _read(path: Path) -> _Found | None:
    data = path.read_bytes()
    title = segment.read_title(data)
    if title is None:
        number = named_segment(data)
        if number is None:
            segment.remove(path)
            return None
        log.error("spool_segment_title_damaged", extra={"segment": path.name})
        title = Title(number, spare=False)
    if title.spare:
        return _Found(path, title, len(data), Scan(None, None), None)
    return _Found(path, title, len(data), segment.scan(data, title.number), segment.read_mark(data, title.number))


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
    used.append(Segment(found.path, found.title.number, found.size, shipped, end))
