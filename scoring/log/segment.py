"""A segment: a file of fixed size whose blocks are written before rows are, so that syncing a row allocates none.

It begins with its title and a mark of what has been shipped of it, each in a disk sector of its own. Everything in a
spare segment was shipped; it gets a new, larger number before it is used again.
"""

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scoring.log.frame import Header, Point, body_at, find, header_at

FIRST_FRAME = 4096
SUFFIX = ".segment"
_MAGIC = b"SIRALOG1"
_TITLE = struct.Struct("<Q?")
_MARK_AT = 512
_MARK = struct.Struct("<QQQQQ")  # number, then a Point
_ZEROS = bytes(1 << 20)
BLOCK_BYTES = 4096
# What file systems return for a block that the disk cannot read, or whose own checksum is wrong.
_UNREADABLE = (errno.EIO, errno.ENODATA, errno.EBADMSG)


@dataclass(slots=True)
class Segment:
    """A segment in use. Its reader alone changes `shipped`, its writer alone `written`: where the frames end."""

    path: Path
    number: int
    size: int
    shipped: Point
    written: Point


@dataclass(frozen=True, slots=True)
class Title:
    """`number`: of the latest use."""

    number: int
    spare: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """The first and the last header that were found in a segment, if any, and where its acknowledged frames end."""

    first: Header | None
    last: Header | None
    end: Point | None


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of a segment. `unreadable`: offsets of the blocks that the disk cannot read; their bytes are zeros."""

    data: bytes
    unreadable: tuple[int, ...]


def create(path: Path, size: int) -> None:
    """Write a spare segment and sync it. Raises OSError; the file is gone then."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        rest = size
        while rest:
            rest -= os.write(fd, _ZEROS[:rest])
        write_title(fd, Title(0, spare=True))
        os.fsync(fd)
        sync_folder(path.parent)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make the names of the folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read(fd: int, offset: int, size: int) -> Content:
    """Read up to the end of the file. One unreadable block must not stop the shipping of those behind it."""
    parts: list[bytes] = []
    unreadable: list[int] = []
    end = offset + size
    while offset < end:
        try:
            part = os.pread(fd, end - offset, offset)  # ends before an unreadable block
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            unreadable.append(offset)
            part = bytes(min(BLOCK_BYTES - offset % BLOCK_BYTES, end - offset))
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return Content(b"".join(parts), tuple(unreadable))


def read_all(path: Path) -> Content:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read(fd, 0, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def open_for_writing(path: Path) -> int:
    """Return a descriptor whose every write is on disk when it returns: one system call, so one GIL hand-over."""
    return os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC)


def rename(path: Path, title: Title) -> None:
    """Give a segment another title, durably."""
    fd = open_for_writing(path)
    try:
        write_title(fd, title)
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Remove a segment durably: if it came back after a power cut while later ones do not, rows would seem lost."""
    path.unlink()
    sync_folder(path.parent)


def write_title(fd: int, title: Title) -> None:
    """Give a segment its number or declare it spare, durably with a descriptor of open_for_writing."""
    os.pwrite(fd, _packed(title), 0)


def read_title(data: bytes) -> Title | None:
    """Return the title in a segment's first bytes; None if it is damaged."""
    start = len(_MAGIC) + 4
    if len(data) < start + _TITLE.size:
        return None
    title = Title(*_TITLE.unpack_from(data, start))
    return title if data.startswith(_packed(title)) else None


def write_mark(fd: int, number: int, shipped: Point) -> None:
    """Note what was shipped, without a sync: after a power cut some rows are shipped again, which changes nothing."""
    fields = _MARK.pack(number, *shipped)
    os.pwrite(fd, zlib.crc32(fields).to_bytes(4, "little") + fields, _MARK_AT)


def read_mark(data: bytes, number: int) -> Point | None:
    """Return what was shipped of this use of a segment; None if there is no mark, or a damaged one."""
    checksum, fields = data[_MARK_AT : _MARK_AT + 4], data[_MARK_AT + 4 : _MARK_AT + 4 + _MARK.size]
    if len(fields) < _MARK.size or zlib.crc32(fields) != int.from_bytes(checksum, "little"):
        return None
    marked, *point = _MARK.unpack(fields)
    return Point(*point) if marked == number else None


def scan(data: bytes, number: int) -> Scan:
    """Find where the acknowledged frames of a segment end; `data`: all of it.

    A frame is begun only after the one before it was acknowledged, so any header proves all frames before it: those
    that are damaged are part of the log. Only the last may be incomplete, and then nobody was answered.
    """
    first = last = None
    for header in _headers(data, number):
        first, last = first or header, header
    if last is None:
        return Scan(None, None, None)
    complete = body_at(data, last.start.offset, last) is not None
    return Scan(first, last, last.end if complete else last.start)


def _headers(data: bytes, number: int) -> Iterator[Header]:
    offset, seq = FIRST_FRAME, 0
    while True:
        header = header_at(data, offset, number) or find(data, offset, number, min_seq=seq)
        if header is None:
            return
        yield header
        offset, seq = header.end.offset, header.end.seq


def _packed(title: Title) -> bytes:
    fields = _TITLE.pack(title.number, title.spare)
    return _MAGIC + zlib.crc32(fields).to_bytes(4, "little") + fields
