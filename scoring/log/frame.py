"""The bytes of one group in a segment: a header with two checksums, and COPY text by table.

A frame is believed only if it names its segment. So the frames of a segment's earlier use are never mistaken for rows.
The magic is not UTF-8, so COPY text cannot contain it, and the next frame is found behind a damaged one.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

# `controlled` are predictions too, each with its propensity. The order is that of the bodies in a frame, which the next
# version must be able to read: add at the end.
Target = Literal["predictions", "controlled", "paired", "trips", "reasons"]
TARGETS: tuple[Target, ...] = get_args(Target)
SLOTS = 8

_MAGIC = b"\xff\xf5SG"
# Checksum of the body; segment; seq; rows and bytes before; spooled_at; rows by slot; bytes by slot.
_FIELDS = struct.Struct(f"<IQQQQd{2 * SLOTS}I")
_CHECKSUM_END = len(_MAGIC) + 4
HEADER_BYTES = _CHECKSUM_END + _FIELDS.size
# zlib releases the GIL for more than this, and the event loop would take it for longer than the checksum takes.
_CHECKED_AT_ONCE = 5 * 1024


class UnknownTarget(Exception):
    """A frame has rows of a table that this version does not know."""

    def __init__(self) -> None:
        super().__init__("the spool has rows of a table that this version does not know: run a newer one")


class Point(NamedTuple):
    """A place between two frames of a segment, with the totals since the spool was new.

    `seq`: of the next group. `rows`, `bytes`: of the groups before it; bytes of their bodies.
    """

    offset: int
    seq: int
    rows: int
    bytes: int


class Batch(Protocol):
    """Lines of COPY text for one table."""

    target: Target
    rows: int
    body: bytes


class Shape(NamedTuple):
    """What a frame says of its body: rows and bytes by slot, and the body, in the order of the targets."""

    rows: Sequence[int]
    sizes: Sequence[int]
    body: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """The batches of one write. `bodies`: lines of COPY text by table; `spooled_at`: unix seconds."""

    spooled_at: float
    rows: int
    bodies: Mapping[Target, bytes]


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a frame: `start` is its own place."""

    start: Point
    spooled_at: float
    rows: tuple[int, ...]
    sizes: tuple[int, ...]
    checksum: int

    @property
    def end(self) -> Point:
        """The place after the frame."""
        size, start = sum(self.sizes), self.start
        return Point(start.offset + HEADER_BYTES + size, start.seq + 1, start.rows + sum(self.rows), start.bytes + size)


def shape(batches: Sequence[Batch]) -> Shape:
    """Return the batches of one write as a frame holds them."""
    rows, sizes = [0] * SLOTS, [0] * SLOTS
    bodies: list[list[bytes]] = [[] for _ in TARGETS]
    for batch in batches:
        slot = TARGETS.index(batch.target)
        rows[slot] += batch.rows
        sizes[slot] += len(batch.body)
        bodies[slot].append(batch.body)
    # The usual single batch is not copied.
    body = batches[0].body if len(batches) == 1 else b"".join(body for one in bodies for body in one)
    return Shape(rows, sizes, body)


def encode(segment: int, at: Point, spooled_at: float, group: Shape) -> list[bytes]:
    """Return the buffers of a frame."""
    rows, sizes, body = group
    fields = _FIELDS.pack(_checksum(body), segment, at.seq, at.rows, at.bytes, spooled_at, *rows, *sizes)
    return [b"%s%s%s" % (_MAGIC, zlib.crc32(fields).to_bytes(4, "little"), fields), body]


def header_at(data: bytes, index: int, segment: int | None, base: int = 0) -> Header | None:
    """Return the header at an index of `data`, which begins at offset `base` of the segment; None if there is none.

    `segment`: the number that it must name; None accepts any.
    """
    fields = data[index + _CHECKSUM_END : index + HEADER_BYTES]
    if len(fields) < _FIELDS.size or data[index : index + len(_MAGIC)] != _MAGIC:
        return None
    if zlib.crc32(fields) != int.from_bytes(data[index + len(_MAGIC) : index + _CHECKSUM_END], "little"):
        return None
    checksum, number, seq, rows, size, spooled_at, *by_slot = _FIELDS.unpack(fields)
    if segment is not None and number != segment:
        return None
    start = Point(base + index, seq, rows, size)
    return Header(start, spooled_at, tuple(by_slot[:SLOTS]), tuple(by_slot[SLOTS:]), checksum)


def body_at(data: bytes, index: int, header: Header) -> bytes | None:
    """Return the body whose header is at an index of `data`; None if it is incomplete or damaged."""
    first, size = index + HEADER_BYTES, sum(header.sizes)
    body = data[first : first + size]
    return body if len(body) == size and _checksum(body) == header.checksum else None


def group_at(data: bytes, index: int, header: Header) -> Group | None:
    """Return the group whose header is at an index of `data`; None if its body is incomplete or damaged.

    Raises UnknownTarget.
    """
    body = body_at(data, index, header)
    if body is None:
        return None
    if any(header.sizes[len(TARGETS) :]):
        raise UnknownTarget
    bodies: dict[Target, bytes] = {}
    end = 0
    for target, size in zip(TARGETS, header.sizes, strict=False):
        if size:
            bodies[target] = body[end : end + size]
            end += size
    return Group(header.spooled_at, sum(header.rows), bodies)


def find(data: bytes, index: int, segment: int | None, base: int = 0, *, min_seq: int = 0) -> Header | None:
    """Return the first header at or after an index of `data`, whatever is before it."""
    while (index := data.find(_MAGIC, index)) >= 0:
        header = header_at(data, index, segment, base)
        if header is not None and header.start.seq >= min_seq:
            return header
        index += 1
    return None


def named_segment(data: bytes) -> int | None:
    """Return the largest segment number that a header in `data` names: of its latest use."""
    index, largest = 0, None
    while (index := data.find(_MAGIC, index)) >= 0:
        if header_at(data, index, None) is not None:
            (number,) = struct.unpack_from("<Q", data, index + _CHECKSUM_END + 4)
            largest = number if largest is None else max(largest, number)
        index += 1
    return largest


def _checksum(body: bytes) -> int:
    if len(body) <= _CHECKED_AT_ONCE:
        return zlib.crc32(body)
    checksum, view = 0, memoryview(body)
    for first in range(0, len(body), _CHECKED_AT_ONCE):
        checksum = zlib.crc32(view[first : first + _CHECKED_AT_ONCE], checksum)
    return checksum
