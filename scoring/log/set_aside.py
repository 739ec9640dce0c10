"""What cannot be shipped is kept beside the segments for a person to inspect: refused rows, and damaged bytes."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from scoring.log.frame import Target
from scoring.log.segment import sync_folder

REFUSED = "refused.jsonl"
_DAMAGED = "damaged-"


class RefusedRow(msgspec.Struct, frozen=True):
    """A row that Postgres will never accept. `row`: its line of COPY text; `refused_at`: unix seconds."""

    refused_at: float
    reason: str
    target: str
    row: str


def keep_refused(folder: Path, target: Target, line: bytes, reason: str, now: float) -> None:
    """Append a row durably. Raises OSError; then nothing was appended."""
    row = RefusedRow(now, reason, target, line.decode(errors="backslashreplace"))
    fd = os.open(folder / REFUSED, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(fd).st_size
        try:
            _write(fd, msgspec.json.encode(row) + b"\n")
        except OSError:
            os.ftruncate(fd, before)
            raise
        if not before:
            sync_folder(folder)
    finally:
        os.close(fd)


def refused_rows(folder: Path) -> list[RefusedRow]:
    """Return the rows that Postgres refused, oldest first."""
    try:
        lines = (folder / REFUSED).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [msgspec.json.decode(line, type=RefusedRow) for line in lines]


def keep_damaged(folder: Path, segment: int, offset: int, content: bytes) -> Path:
    """Keep the damaged part of a segment durably; return its file. Safe to repeat."""
    path = folder / f"{_DAMAGED}{segment}-{offset}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(fd, content)
    finally:
        os.close(fd)
    sync_folder(folder)
    return path


def keep_file(segment: Path) -> Path:
    """Keep all of a segment whose number is unknown, under another name."""
    names = (segment.with_name(f"{_DAMAGED}file-{number}") for number in itertools.count())
    kept = segment.rename(next(name for name in names if not name.exists()))
    sync_folder(kept.parent)
    return kept


def damaged_segments(folder: Path) -> Iterator[int]:
    """Yield the numbers of the segments of which damaged parts are kept."""
    for path in folder.glob(f"{_DAMAGED}*"):
        number = path.name.split("-")[1]
        if number.isdigit():
            yield int(number)


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.fsync(fd)
