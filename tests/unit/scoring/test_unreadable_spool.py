"""A spool whose disk cannot read a block, or whose files are not those that were written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime import metrics
from scoring.log import frame, segment
from scoring.log.frame import HEADER_BYTES, SLOTS, Point, Shape
from scoring.log.segment import BLOCK_BYTES, FIRST_FRAME, Title
from scoring.log.spool import Spool
from scoring.log.spool_file import SpoolFile, orphans
from tests.support.spooled import drained, lines

SEGMENT = 32 << 10
ROW_BYTES = 1000
FRAME_BYTES = HEADER_BYTES + ROW_BYTES


def a_segment(rows: int, *, number: int = 1, first_seq: int = 1, title: Title | None = None) -> bytes:
    """Return a segment with groups of one row each; row n begins with n."""
    content = bytearray(SEGMENT)
    at = Point(FIRST_FRAME, first_seq, first_seq - 1, ROW_BYTES * (first_seq - 1))
    none = [0] * (SLOTS - 1)
    for _ in range(rows):
        body = b"%d" % (at.seq - 1)
        body += b"x" * (ROW_BYTES - len(body) - 1) + b"\n"
        written = b"".join(frame.encode(number, at, 1.5, Shape([1, *none], [len(body), *none], body)))
        content[at.offset : at.offset + len(written)] = written
        at = Point(at.offset + len(written), at.seq + 1, at.rows + 1, at.bytes + len(body))
    packed = segment._packed(title or Title(number, spare=False))
    content[: len(packed)] = packed
    return bytes(content)


def folder_of(directory: Path, *contents: bytes, name: str = "spool-0") -> Path:
    folder = directory / name
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"{number}.segment").write_bytes(content)
    return folder


@contextmanager
def claimed(folder: Path) -> Iterator[SpoolFile]:
    file = SpoolFile.claim(folder)
    assert file is not None
    try:
        yield file
    finally:
        file.close()


def numbers(file: SpoolFile) -> list[int]:
    return [int(line.rstrip(b"x")) for line in lines(drained(file))]


def damaged_rows() -> float:
    return metrics.log_damaged._value.get()  # type: ignore[no-any-return]


@contextmanager
def unreadable(monkeypatch: pytest.MonkeyPatch, path: Path, offset: int) -> Iterator[None]:
    """Answer reads of a block of the file as the kernel does if the disk cannot: a short read before it, then EIO."""
    inode, block, real = path.stat().st_ino, offset - offset % BLOCK_BYTES, os.pread

    def pread(fd: int, size: int, at: int) -> bytes:
        if os.fstat(fd).st_ino == inode and at < block + BLOCK_BYTES and at + size > block:
            if at >= block:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            size = block - at
        return real(fd, size, at)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", pread)
        yield


# ---------------------------------------------------------------- blocks that cannot be read


def test_an_unreadable_block_costs_only_the_groups_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, before = folder_of(tmp_path, a_segment(20)), damaged_rows()
    with unreadable(monkeypatch, folder / "0.segment", 3 * BLOCK_BYTES), claimed(folder) as file:
        hit = {n for n in range(20) if (n + 1) * FRAME_BYTES > 2 * BLOCK_BYTES and n * FRAME_BYTES < 3 * BLOCK_BYTES}
        assert numbers(file) == [n for n in range(20) if n not in hit]
        assert damaged_rows() == before + len(hit)
        kept = sorted(folder.glob("damaged-*"))
        # Of the groups that are partly in the block, the readable parts are kept.
        assert sum(path.stat().st_size for path in kept) > len(hit) * FRAME_BYTES - 2 * HEADER_BYTES


def test_a_block_that_becomes_unreadable_does_not_stop_shipping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, a_segment(20))
    with claimed(folder) as file, unreadable(monkeypatch, folder / "0.segment", 3 * BLOCK_BYTES):
        found = numbers(file)
        assert (found[:7], found[-7:]) == ([*range(7)], [*range(13, 20)])
        assert file.waiting_rows == 0


def test_an_unreadable_block_at_the_end_of_the_log_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have had acknowledged groups, which nothing else tells."""
    folder, before = folder_of(tmp_path, a_segment(7)), damaged_rows()
    with unreadable(monkeypatch, folder / "0.segment", 2 * BLOCK_BYTES), claimed(folder) as file:
        assert numbers(file) == [0, 1, 2]
        assert damaged_rows() >= before + 1
        assert list(folder.glob("damaged-1-*"))


def test_a_segment_of_which_nothing_can_be_read_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = a_segment(3)
    folder, before = folder_of(tmp_path, content[: FIRST_FRAME + FRAME_BYTES // 2]), damaged_rows()
    with monkeypatch.context() as patched:
        patched.setattr(segment, "BLOCK_BYTES", 1 << 20)
        with unreadable(monkeypatch, folder / "0.segment", 0), claimed(folder) as file:
            assert numbers(file) == []
    (kept,) = folder.glob("damaged-file-*")
    assert content.startswith(kept.read_bytes())
    assert damaged_rows() == before + 1


def test_another_error_than_an_unreadable_block_is_raised_and_the_spool_can_be_claimed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, a_segment(3))
    (folder / "1.segment").mkdir()
    with pytest.raises(IsADirectoryError):
        SpoolFile.claim(folder)
    (folder / "1.segment").rmdir()
    with claimed(folder) as file:
        assert numbers(file) == [0, 1, 2]


def test_a_spool_that_cannot_be_opened_does_not_hide_those_after_it(tmp_path: Path) -> None:
    first = folder_of(tmp_path, a_segment(3))
    folder_of(tmp_path, a_segment(2), name="spool-1")
    (first / "1.segment").mkdir()
    found = []
    for file in orphans(tmp_path):
        found.append((file.path.name, numbers(file)))
        file.close()
    assert found == [("spool-1", [0, 1])]


# ---------------------------------------------------------------- files that are not as they were written


def test_a_file_with_bytes_but_no_readable_title_and_frame_is_kept(tmp_path: Path) -> None:
    content, before = bytearray(a_segment(1)), damaged_rows()
    content[3] ^= 1
    content[FIRST_FRAME + 20] ^= 1
    folder = folder_of(tmp_path, bytes(content))
    with claimed(folder) as file:
        assert numbers(file) == []
    (kept,) = folder.glob("damaged-file-*")
    assert kept.read_bytes() == bytes(content)
    assert damaged_rows() == before + 1


def test_bytes_kept_of_one_damage_are_not_replaced_by_those_of_another(tmp_path: Path) -> None:
    for life in range(2):
        spool = Spool.open(tmp_path, limit_bytes=1 << 20, segment_bytes=SEGMENT)
        number = spool._next_number
        spool.close()
        content = bytearray(a_segment(2, number=number))
        content[FIRST_FRAME + 20] ^= 1
        for path in (tmp_path / "spool-0").glob("*.segment"):
            path.unlink()
        (tmp_path / "spool-0" / "0.segment").write_bytes(content)
        (file,) = orphans(tmp_path)
        assert numbers(file) == [1]
        file.remove_shipped()
        file.close()
        assert len(list((tmp_path / "spool-0").glob("damaged-*"))) == life + 1


def test_a_group_that_the_disk_refused_does_not_come_back_if_a_larger_one_followed_in_the_next_segment(
    tmp_path: Path,
) -> None:
    """The disk refused to sync the third group, but its bytes are there; the next was too large for that segment."""
    with claimed(folder_of(tmp_path, a_segment(3), a_segment(2, number=2, first_seq=3))) as file:
        assert file.waiting_rows == 4
        assert numbers(file) == [0, 1, 2, 3]


def test_the_name_of_a_new_spool_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, real = set(), os.fsync

    def fsync(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with claimed(tmp_path / "spool-0"):
        assert tmp_path.stat().st_ino in synced
