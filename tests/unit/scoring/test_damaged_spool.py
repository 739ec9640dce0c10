"""A spool whose disk did not keep what it was given: torn, reordered, flipped and stale bytes."""

import itertools
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime import metrics
from scoring.log import frame, segment
from scoring.log.frame import HEADER_BYTES, SLOTS, Point, Shape, UnknownTarget
from scoring.log.segment import FIRST_FRAME, Title
from scoring.log.spool import Spool, SpoolError
from scoring.log.spool_file import SpoolFile
from tests.support.spooled import drained, lines

SEGMENT = 16 << 10
ROWS = [b"row-%d" % number for number in range(6)]
ONE_ROW, SIX_BYTES = ([number, *[0] * (SLOTS - 1)] for number in (1, 6))
FRAME_BYTES = HEADER_BYTES + len(ROWS[0]) + 1
FIRST_CUT = FIRST_FRAME + 3 * FRAME_BYTES
END = FIRST_FRAME + 6 * FRAME_BYTES


def spool_to(folder: Path, rows: Sequence[bytes], segment_bytes: int = SEGMENT) -> None:
    """Spool each row as a group of its own, in a life of the process."""
    spool = Spool.open(folder, limit_bytes=1 << 20, segment_bytes=segment_bytes)
    for row in rows:
        done = threading.Event()
        outcome: list[SpoolError | None] = []
        spool.append("predictions", row + b"\n", 1, 1.5, lambda error, o=outcome, d=done: (o.append(error), d.set()))  # type: ignore[misc]
        assert done.wait(10)
        assert outcome == [None]
    spool.close()


@pytest.fixture(scope="module")
def six_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The segment of a spool with six rows, and nothing else beside it."""
    folder = tmp_path_factory.mktemp("six")
    spool_to(folder, ROWS)
    (path,) = [path for path in (folder / "spool-0").glob("*.segment") if ROWS[0] in path.read_bytes()]
    assert path.read_bytes()[END:] == bytes(SEGMENT - END)
    return path


@contextmanager
def spool_of(folder: Path, *contents: bytes) -> Iterator[SpoolFile]:
    """Claim a spool whose segments have these contents."""
    path = folder / "spool-0"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for number, content in enumerate(contents):
        (path / f"{number}.segment").write_bytes(content)
    file = SpoolFile.claim(path)
    assert file is not None
    try:
        yield file
    finally:
        file.close()


def damaged_rows() -> float:
    return metrics.log_damaged._value.get()  # type: ignore[no-any-return]


def flipped(content: bytes, index: int, bit: int = 0) -> bytes:
    return content[:index] + bytes([content[index] ^ 1 << bit]) + content[index + 1 :]


# ---------------------------------------------------------------- the last write


@pytest.mark.parametrize("rest", ["zeros", "nothing", "an earlier use"])
def test_a_file_cut_anywhere_has_every_group_before_the_cut_and_nothing_else(
    six_rows: Path, tmp_path: Path, rest: str
) -> None:
    content, before = six_rows.read_bytes(), damaged_rows()
    earlier = earlier_use(content)
    for cut in range(FIRST_CUT, END + 1):
        after = {"zeros": bytes(SEGMENT - cut), "nothing": b"", "an earlier use": earlier[cut:]}[rest]
        left = content[:cut] + after
        # The last byte of an earlier use may be the missing one.
        complete = max(n for n in range(7) if left.startswith(content[: FIRST_FRAME + n * FRAME_BYTES]))
        assert complete in ((cut - FIRST_FRAME) // FRAME_BYTES, (cut + 1 - FIRST_FRAME) // FRAME_BYTES)
        with spool_of(tmp_path, left) as file:
            assert file.waiting_rows == complete
            assert lines(drained(file)) == ROWS[:complete], cut
    assert damaged_rows() == before, "what was never acknowledged is not damage"


def earlier_use(content: bytes) -> bytes:
    """The same segment as it was before it got its number: full of frames that are intact."""
    frames = []
    for seq in range((SEGMENT - FIRST_FRAME) // FRAME_BYTES):
        frames += frame.encode(0, Point(0, seq, seq, seq), 1.0, Shape(ONE_ROW, SIX_BYTES, b"stale\n"))
    stale = content[:FIRST_FRAME] + b"".join(frames)
    return stale + bytes(SEGMENT - len(stale))


def test_pages_written_in_any_order_make_a_group_that_is_whole_or_absent(tmp_path: Path) -> None:
    spool_to(tmp_path / "made", [b"first", b"x" * 15_000], segment_bytes=32 << 10)
    (path,) = [path for path in (tmp_path / "made" / "spool-0").glob("*.segment") if b"first" in path.read_bytes()]
    content = path.read_bytes()
    begin = FIRST_FRAME + HEADER_BYTES + len(b"first\n")
    pages = sorted({begin, *range(2 * FIRST_FRAME, begin + HEADER_BYTES + 15_001, 4096), begin + HEADER_BYTES + 15_001})
    spans = list(itertools.pairwise(pages))
    assert len(spans) == 4
    for kept in itertools.product([True, False], repeat=len(spans)):
        written = bytearray(content)
        for (first, end), is_kept in zip(spans, kept, strict=True):
            if not is_kept:
                written[first:end] = bytes(end - first)
        with spool_of(tmp_path, bytes(written)) as file:
            assert lines(drained(file)) == ([b"first", b"x" * 15_000] if all(kept) else [b"first"]), kept


# ---------------------------------------------------------------- bits


def test_a_bit_flipped_anywhere_in_a_group_costs_that_group_and_is_noticed(six_rows: Path, tmp_path: Path) -> None:
    content = six_rows.read_bytes()
    for index in range(FIRST_FRAME, FIRST_FRAME + 5 * FRAME_BYTES):
        hit = (index - FIRST_FRAME) // FRAME_BYTES
        begin, before = FIRST_FRAME + hit * FRAME_BYTES, damaged_rows()
        damaged = flipped(content, index, index % 8)
        with spool_of(tmp_path, damaged) as file:
            assert lines(drained(file)) == [row for number, row in enumerate(ROWS) if number != hit], index
            assert damaged_rows() == before + 1
            assert file.waiting_rows == 0
            (kept,) = file.path.glob("damaged-*")
            assert kept.name == f"damaged-1-{begin}"
            assert kept.read_bytes() == damaged[begin : begin + FRAME_BYTES]
            assert kept.stat().st_mode & 0o777 == 0o600


def test_a_bit_flipped_in_the_last_group_costs_no_other(six_rows: Path, tmp_path: Path) -> None:
    content = six_rows.read_bytes()
    for index, bit in itertools.product(range(END - FRAME_BYTES, END), range(8)):
        with spool_of(tmp_path, flipped(content, index, bit)) as file:
            assert lines(drained(file)) == ROWS[:5], index


def test_no_flipped_bit_of_a_frame_goes_unnoticed() -> None:
    encoded = b"".join(frame.encode(7, Point(0, 3, 4, 5), 1.5, Shape(ONE_ROW, SIX_BYTES, b"row-0\n")))
    header = frame.header_at(encoded, 0, 7)
    assert header is not None
    assert frame.group_at(encoded, 0, header) is not None
    for index, bit in itertools.product(range(len(encoded)), range(8)):
        damaged = flipped(encoded, index, bit)
        found = frame.header_at(damaged, 0, 7)
        assert found is None or frame.group_at(damaged, 0, found) is None


def test_rows_of_a_table_that_a_newer_version_added_are_kept_until_it_runs(six_rows: Path, tmp_path: Path) -> None:
    content = six_rows.read_bytes()
    last_slot = [0] * (SLOTS - 1)
    unknown = frame.encode(1, Point(0, 7, 6, 36), 1.5, Shape([*last_slot, 1], [*last_slot, 6], b"new-0\n"))
    content = content[:END] + b"".join(unknown) + content[END + FRAME_BYTES :]
    with spool_of(tmp_path, content) as file:
        reading = file.read(6)
        assert reading is not None
        assert lines(reading.groups) == ROWS
        file.shipped(reading)
        for _ in range(2):
            with pytest.raises(UnknownTarget):
                file.read(6)
        assert file.waiting_rows == 1


def test_damage_to_the_title_or_the_mark_loses_no_row(six_rows: Path, tmp_path: Path) -> None:
    content = six_rows.read_bytes()
    with spool_of(tmp_path, content) as file:
        reading = file.read(2)
        assert reading is not None
        file.shipped(reading)
        (path,) = file.path.glob("*.segment")
        content = path.read_bytes()
    with spool_of(tmp_path, content) as file:
        assert lines(drained(file)) == ROWS[2:]
    mark = 512
    for index in [*range(32), *range(mark, mark + 64)]:
        with spool_of(tmp_path, flipped(content, index, index % 8)) as file:
            found = lines(drained(file))
            assert found in (ROWS, ROWS[2:]), index


def test_several_damaged_groups_are_counted_each(six_rows: Path, tmp_path: Path) -> None:
    content, before = six_rows.read_bytes(), damaged_rows()
    for hit in (0, 2, 3):
        begin = FIRST_FRAME + hit * FRAME_BYTES
        content = content[:begin] + b"\xaa" * FRAME_BYTES + content[begin + FRAME_BYTES :]
    with spool_of(tmp_path, content) as file:
        assert lines(drained(file)) == [ROWS[1], ROWS[4], ROWS[5]]
    # That a row was first is no longer known; it counts as one all the same.
    assert damaged_rows() == before + 3


# ---------------------------------------------------------------- several segments


@pytest.fixture(scope="module")
def three_segments(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Segments with two rows each; the last with one."""
    folder = tmp_path_factory.mktemp("three")
    spool_to(folder, [b"%d" % number + b"x" * 1500 for number in range(5)], segment_bytes=8 << 10)
    found = [path.read_bytes() for path in (folder / "spool-0").glob("*.segment")]
    used = [content for content in found if (title := segment.read_title(content)) and not title.spare]
    return sorted(used, key=lambda content: segment.read_title(content).number)  # type: ignore[union-attr]


def numbers(file: SpoolFile) -> list[int]:
    return [int(line[:1]) for line in lines(drained(file))]


def test_segments_are_read_by_number_whatever_their_files_are_called(
    three_segments: list[bytes], tmp_path: Path
) -> None:
    for order in itertools.permutations(three_segments):
        with spool_of(tmp_path, *order) as file:
            assert file.waiting_rows == 5
            assert numbers(file) == [0, 1, 2, 3, 4]


def test_the_last_group_of_a_segment_is_missed_when_the_next_segment_follows(
    three_segments: list[bytes], tmp_path: Path
) -> None:
    first, second, third = three_segments
    begin, before = second.index(b"3xxx") - HEADER_BYTES, damaged_rows()
    for index in (begin, begin + 5, begin + HEADER_BYTES + 7):
        with spool_of(tmp_path, first, flipped(second, index), third) as file:
            assert file.waiting_rows == 5
            assert numbers(file) == [0, 1, 2, 4]
            assert file.waiting_rows == 0
            assert len(list(file.path.glob("damaged-2-*"))) == 1
    assert damaged_rows() == before + 3


def test_the_first_group_of_a_segment_is_missed_too(three_segments: list[bytes], tmp_path: Path) -> None:
    first, second, third = three_segments
    before = damaged_rows()
    with spool_of(tmp_path, first, flipped(second, FIRST_FRAME + 9), third) as file:
        assert numbers(file) == [0, 1, 3, 4]
    assert damaged_rows() == before + 1


def test_a_segment_without_a_readable_frame_is_kept_and_counted(three_segments: list[bytes], tmp_path: Path) -> None:
    first, second, third = three_segments
    before = damaged_rows()
    ruined = second[:FIRST_FRAME] + b"\x55" * (len(second) - FIRST_FRAME)
    with spool_of(tmp_path, first, ruined, third) as file:
        assert numbers(file) == [0, 1, 4]
        (kept,) = file.path.glob("damaged-2-*")
        assert kept.read_bytes() == ruined[FIRST_FRAME:]
    assert damaged_rows() == before + 2


def test_a_spare_segment_is_never_read_and_one_whose_creation_was_interrupted_is_removed(
    six_rows: Path, tmp_path: Path
) -> None:
    content = six_rows.read_bytes()
    with spool_of(tmp_path, content, bytes(SEGMENT), bytes(100)) as file:
        path = file.path / "0.segment"
        assert lines(drained(file)) == ROWS
        assert list(file.path.glob("*.segment")) == [path]
        segment.rename(path, Title(1, spare=True))
        with spool_of(tmp_path, path.read_bytes()) as again:
            assert (again.waiting_rows, again.read(1)) == (0, None)
            assert again.left.last_number == 1, "its frames must never be taken for those of a later use"


# ---------------------------------------------------------------- while it is written


def test_damage_to_what_is_still_being_written_is_noticed_and_the_backlog_ends(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, limit_bytes=1 << 20, segment_bytes=SEGMENT)
    before = damaged_rows()
    try:
        for row in ROWS:
            done = threading.Event()
            spool.append("predictions", row + b"\n", 1, 1.5, lambda error, d=done: d.set())  # type: ignore[misc]
            assert done.wait(10)
        (path,) = [path for path in spool.file.path.glob("*.segment") if ROWS[0] in path.read_bytes()]
        content = path.read_bytes()
        for hit in (2, 5):
            path.write_bytes(content := flipped(content, FIRST_FRAME + hit * FRAME_BYTES + 20))
        assert lines(drained(spool.file)) == [row for number, row in enumerate(ROWS) if number not in (2, 5)]
        assert (damaged_rows(), spool.waiting_rows, spool.waiting_bytes) == (before + 2, 0, 0)
    finally:
        spool.close()
