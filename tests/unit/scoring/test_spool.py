"""The local log: what was said to be durable is there, whatever happens next."""

import fcntl
import os
import queue
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest

from scoring.log.frame import HEADER_BYTES, Target
from scoring.log.segment import FIRST_FRAME
from scoring.log.segment_supply import RESERVE_BYTES
from scoring.log.spool import Spool, SpoolFull, SpoolUnwritable
from scoring.log.spool_file import SpoolFile, orphans
from tests.support.log_rows import wait_until
from tests.support.spooled import bodies, drained, lines, waiting_groups

LIMIT = 1 << 20
SEGMENT = 64 << 10
ROOT = Path(__file__).resolve().parents[3]
Outcome = "queue.Queue[SpoolError | None]"


def append(spool: Spool, body: bytes = b"row\n", rows: int = 1, target: Target = "predictions") -> Outcome:
    answers: Outcome = queue.Queue()
    spool.append(target, body, rows, 1.5, answers.put)
    return answers


def is_durable(outcome: Outcome) -> bool:
    return outcome.get(timeout=10) is None


def ship_all(spool: Spool) -> list[bytes]:
    """Ship what waits as the shipper does; return the text."""
    found = []
    while reading := spool.file.read(4_000):
        found += bodies(reading.groups)
        spool.shipped(reading)
    return found


def segments(spool: Spool) -> list[Path]:
    return sorted(spool.file.path.glob("*.segment"))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Spool]]:
    """Open the spool of a folder, again and again; it is closed in the end."""
    spools: list[Spool] = []

    def open_again() -> Spool:
        while spools:
            spools.pop().close()
        spools.append(Spool.open(tmp_path, limit_bytes=LIMIT, segment_bytes=SEGMENT))
        return spools[-1]

    yield open_again
    for spool in spools:
        spool.close()


@pytest.fixture
def spool(opened: Callable[[], Spool]) -> Spool:
    return opened()


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """While it lasts no file of this process grows past a size: what a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ---------------------------------------------------------------- writing


def test_a_batch_is_on_disk_when_its_caller_is_notified(spool: Spool) -> None:
    assert is_durable(append(spool, b"a\nb\n", rows=2))
    assert any(b"a\nb\n" in path.read_bytes() for path in segments(spool))
    (group,) = waiting_groups(spool.file)
    assert (group.spooled_at, group.rows, group.bodies) == (1.5, 2, {"predictions": b"a\nb\n"})


def test_every_write_is_synced_to_disk(spool: Spool) -> None:
    assert is_durable(append(spool))
    assert fcntl.fcntl(spool._fd, fcntl.F_GETFL) & os.O_DSYNC


def test_a_segment_keeps_its_size_and_blocks_while_it_is_written(spool: Spool) -> None:
    assert is_durable(append(spool, b"x"))
    (path,) = [path for path in segments(spool) if b"x" in path.read_bytes()[FIRST_FRAME:]]
    before = path.stat()
    assert (before.st_size, before.st_blocks * 512 >= SEGMENT) == (SEGMENT, True)
    for _ in range(20):
        assert is_durable(append(spool, b"y" * 1000))
    assert (path.stat().st_size, path.stat().st_blocks) == (before.st_size, before.st_blocks)


def test_only_the_owner_may_read_what_was_spooled(spool: Spool) -> None:
    assert is_durable(append(spool))
    spool.file.quarantine("predictions", b"bad\n", "reason", 0.0)
    assert spool.file.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in spool.file.path.iterdir()} == {0o600}


def test_batches_come_back_in_the_order_they_were_appended(spool: Spool) -> None:
    assert is_durable(append(spool, b"0\n")), "a group of its own"
    answers = [append(spool, b"%d\n" % n) for n in range(1, 500)]
    assert all(map(is_durable, answers))
    assert lines(waiting_groups(spool.file)) == [b"%d" % n for n in range(500)]
    reading = spool.file.read(1)
    assert reading is not None
    assert (len(reading.groups), reading.more) == (1, True)


def test_what_arrives_during_a_write_shares_the_next_one(spool: Spool) -> None:
    answers = [append(spool) for _ in range(2_000)]
    assert all(map(is_durable, answers))
    groups = drained(spool.file)
    assert sum(group.rows for group in groups) == 2_000
    assert len(groups) < 1_000


def test_the_targets_of_a_group_come_back_apart(spool: Spool) -> None:
    targets = get_args(Target)
    answers = [append(spool, f"{target}{n}\n".encode(), 1, target) for n in range(300) for target in reversed(targets)]
    assert all(map(is_durable, answers))
    groups = drained(spool.file)
    assert len(groups) < 1_200
    for target in targets:
        assert lines(groups, target) == [f"{target}{n}".encode() for n in range(300)]


def test_a_group_that_is_larger_than_a_segment_gets_one_of_its_size(spool: Spool) -> None:
    large = b"x" * (3 * SEGMENT)
    for body in (b"before\n", large, b"after\n"):
        assert is_durable(append(spool, body))
    assert ship_all(spool) == [b"before\n", large, b"after\n"]
    assert is_durable(append(spool, b"last\n"))
    assert ship_all(spool) == [b"last\n"]


# ---------------------------------------------------------------- counting and limits


def test_the_backlog_is_counted_and_let_go_of(spool: Spool) -> None:
    for _ in range(3):
        assert is_durable(append(spool, b"12345\n"))
    assert (spool.waiting_rows, spool.waiting_bytes, spool.file.waiting_rows) == (3, 18, 3)
    assert spool.file.oldest_at() == 1.5
    reading = spool.file.read(2)
    assert reading is not None
    spool.shipped(reading)
    assert (spool.waiting_rows, spool.waiting_bytes) == (1, 6)
    ship_all(spool)
    assert (spool.waiting_rows, spool.waiting_bytes, spool.file.waiting_rows) == (0, 0, 0)
    assert spool.file.oldest_at() is None


def test_shipped_segments_are_used_again_and_the_disk_does_not_fill(spool: Spool) -> None:
    for number in range(200):
        assert is_durable(append(spool, b"%d\n" % number + b"x" * 4000))
        (body,) = ship_all(spool)
        assert body.startswith(b"%d\n" % number)
    assert sum(path.stat().st_size for path in segments(spool)) <= 4 * SEGMENT


def test_what_waited_leaves_the_disk_once_it_is_shipped(spool: Spool) -> None:
    for _ in range(9):
        assert is_durable(append(spool, b"x" * (SEGMENT - FIRST_FRAME - HEADER_BYTES)))
    assert len(segments(spool)) >= 9
    assert len(ship_all(spool)) == 9
    assert wait_until(lambda: len(segments(spool)) <= 3)


def test_a_full_spool_refuses_and_takes_again_once_some_is_shipped(spool: Spool) -> None:
    half = b"x" * (LIMIT // 2)
    assert is_durable(append(spool, half))
    assert is_durable(append(spool, half))
    assert not spool.writable
    assert isinstance(append(spool).get(timeout=5), SpoolFull)
    reading = spool.file.read(1)
    assert reading is not None
    spool.shipped(reading)
    assert spool.writable
    assert is_durable(append(spool))


def test_a_full_spool_takes_the_trip_of_a_fuse(spool: Spool) -> None:
    assert is_durable(append(spool, b"x" * LIMIT))
    assert is_durable(append(spool, b"trip\n", target="trips"))
    assert bodies(drained(spool.file), "trips") == [b"trip\n"]


def test_a_spool_too_full_for_the_next_row_says_so(spool: Spool) -> None:
    assert is_durable(append(spool, b"x" * (LIMIT - 1)))
    assert spool.writable
    assert isinstance(append(spool, b"xx").get(timeout=5), SpoolFull)
    assert not spool.writable
    ship_all(spool)
    assert spool.writable


def test_a_batch_larger_than_the_limit_is_refused_and_does_not_end_readiness(spool: Spool) -> None:
    assert isinstance(append(spool, b"x" * (LIMIT + 1)).get(timeout=5), SpoolFull)
    assert spool.writable, "nothing waits, so nothing would be shipped that could end it"


def test_each_commit_is_timed_once_and_a_refused_one_is_not(spool: Spool) -> None:
    for _ in range(3):
        assert is_durable(append(spool))
    commits = spool.take_commits()
    assert sum(commits.counts) == 3
    assert 0 < commits.total < 60
    with largest_file(SEGMENT // 2):
        assert isinstance(append(spool, b"x" * SEGMENT).get(timeout=5), SpoolUnwritable)
    assert sum(spool.take_commits().counts) == 0


# ---------------------------------------------------------------- a full disk


def test_a_full_disk_is_reported_and_the_spool_recovers_by_itself(spool: Spool) -> None:
    assert is_durable(append(spool))
    with largest_file(SEGMENT // 2):
        for _ in range(4):  # the segments that are already there may take the first
            error = append(spool, b"x" * (SEGMENT - FIRST_FRAME - HEADER_BYTES)).get(timeout=5)
        assert isinstance(error, SpoolUnwritable)
        assert not spool.writable
    assert wait_until(lambda: spool.writable), "the writer's own probe finds the disk well again"
    assert is_durable(append(spool))
    assert lines(drained(spool.file))[-1] == b"row"
    assert spool.waiting_rows == 0


def test_batches_refused_by_the_disk_do_not_come_back_later(spool: Spool) -> None:
    with largest_file(SEGMENT // 2):
        answers = [append(spool, b"refused" + b"x" * SEGMENT) for _ in range(3)]
        assert all(isinstance(answer.get(timeout=5), SpoolUnwritable) for answer in answers)
    assert wait_until(lambda: spool.writable)
    assert is_durable(append(spool))
    assert bodies(drained(spool.file)) == [b"row\n"]
    assert not any(b"refused" in path.read_bytes() for path in segments(spool))


def test_a_reserve_of_the_disk_is_never_taken(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_durable(append(spool))
    with monkeypatch.context() as patched:
        patched.setattr("scoring.log.segment_supply.RESERVE_BYTES", 1 << 62)
        outcomes = [append(spool, b"x" * (SEGMENT // 2)).get(timeout=5) for _ in range(8)]
        assert isinstance(outcomes[-1], SpoolUnwritable)
        assert "disk is full" in str(outcomes[-1])
        assert not spool.writable
        waiting = spool.waiting_rows
        assert isinstance(append(spool).get(timeout=5), SpoolUnwritable), "until there is room for what was refused"
        assert spool.waiting_rows == waiting
        kept = ship_all(spool)
        assert len(kept) == 1 + outcomes.count(None)
        assert wait_until(lambda: spool.writable), "segments that were shipped are used again, with no new space"
    assert RESERVE_BYTES == 32 << 20


def test_a_disk_that_others_fill_stops_nothing_while_rows_are_shipped(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_durable(append(spool))
    assert wait_until(lambda: len(segments(spool)) == 2), "one in use, one ready"
    monkeypatch.setattr("scoring.log.segment_supply.RESERVE_BYTES", 1 << 62)
    for number in range(100):
        assert is_durable(append(spool, b"%d\n" % number + b"x" * 3000))
        while spool.waiting_rows > 3:  # some rows always wait
            reading = spool.file.read(1)
            assert reading is not None
            spool.shipped(reading)
    assert len(segments(spool)) == 2


def test_a_batch_too_large_for_a_full_disk_does_not_stop_those_that_fit(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_durable(append(spool))
    assert wait_until(lambda: len(segments(spool)) == 2), "one in use, one ready"
    monkeypatch.setattr("scoring.log.segment_supply.RESERVE_BYTES", 1 << 62)
    assert isinstance(append(spool, b"x" * SEGMENT).get(timeout=5), SpoolUnwritable)
    for _ in range(20):
        assert is_durable(append(spool, b"y" * 10_000))
        assert len(ship_all(spool)) >= 1


def test_a_process_that_starts_on_a_full_disk_uses_the_only_segment_once_its_rows_are_shipped(
    opened: Callable[[], Spool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened()
    assert is_durable(append(spool, b"left\n"))
    assert wait_until(lambda: len(segments(spool)) == 2), "one in use, one ready"
    (spare,) = [path for path in segments(spool) if b"left" not in path.read_bytes()]
    monkeypatch.setattr("scoring.log.segment_supply.RESERVE_BYTES", 1 << 62)
    spare.unlink()
    again = opened()
    assert isinstance(append(again).get(timeout=5), SpoolUnwritable), "there is no room, and a row waits"
    assert ship_all(again) == [b"left\n"]
    assert is_durable(append(again, b"new\n"))
    assert ship_all(again) == [b"new\n"]
    assert len(segments(again)) == 1


def test_a_spare_segment_that_someone_removed_is_replaced(spool: Spool) -> None:
    assert is_durable(append(spool))
    assert wait_until(lambda: len(segments(spool)) == 2), "one in use, one ready"
    (spare,) = [path for path in segments(spool) if b"row" not in path.read_bytes()]
    spare.unlink()
    for _ in range(10):
        assert is_durable(append(spool, b"x" * (SEGMENT // 4)))
    assert len(ship_all(spool)) == 11


# ---------------------------------------------------------------- other processes


def test_a_file_is_claimed_by_one_process_alone(spool: Spool, tmp_path: Path) -> None:
    assert SpoolFile.claim(spool.file.path) is None
    other = Spool.open(tmp_path, limit_bytes=LIMIT)
    assert other.file.path != spool.file.path
    other.close()


def test_an_own_file_is_no_orphan(spool: Spool, tmp_path: Path) -> None:
    assert list(orphans(tmp_path)) == []


def test_the_next_process_takes_over_the_spool_of_a_closed_one_with_its_backlog(opened: Callable[[], Spool]) -> None:
    first = opened()
    assert is_durable(append(first, b"left behind\n"))
    second = opened()
    assert second.file.path == first.file.path
    assert (second.waiting_rows, second.waiting_bytes) == (1, 12)
    assert is_durable(append(second, b"new\n"))
    assert ship_all(second) == [b"left behind\n", b"new\n"]
    third = opened()
    assert (third.waiting_rows, ship_all(third)) == (0, [])


def test_what_was_shipped_is_not_read_again_after_a_restart(opened: Callable[[], Spool]) -> None:
    seen = []
    for life in range(5):
        spool = opened()
        for number in range(30):
            assert is_durable(append(spool, b"%d.%d\n" % (life, number) + b"x" * 5000))
        for _ in range(25):
            reading = spool.file.read(1)
            assert reading is not None
            seen += bodies(reading.groups)
            spool.shipped(reading)
    seen += ship_all(opened())
    assert [body.split(b"\n")[0] for body in seen] == [b"%d.%d" % (life, n) for life in range(5) for n in range(30)]


def test_rows_set_aside_are_kept_with_their_reason_and_out_of_the_way(opened: Callable[[], Spool]) -> None:
    spool = opened()
    spool.file.quarantine("predictions", 'bad "é\\n\n'.encode(), "DataError 22P02", 2.5)
    spool.file.quarantine("paired", b"worse\n", "DataError 22P04", 3.5)
    assert spool.waiting_rows == 0
    first, second = opened().file.refused()
    assert (first.refused_at, first.reason, first.target, first.row) == (
        2.5, "DataError 22P02", "predictions", 'bad "é\\n\n',
    )  # fmt: skip
    assert second.row == "worse\n"


APPENDER = """
import os, sys, time
from pathlib import Path
from scoring.log.spool import Spool
spool = Spool.open(Path(sys.argv[1]), limit_bytes=1 << 30, segment_bytes=64 << 10)
def acknowledge(number):
    return lambda error: os.write(1, b"%d\\n" % number) if error is None else os._exit(3)
number = 0
while True:
    for _ in range(8):
        spool.append("predictions", b"%d\\n" % number, 1, 0.0, acknowledge(number))
        number += 1
    time.sleep(0.0005)
"""


def test_kill_9_at_any_moment_loses_nothing_that_was_reported_durable(tmp_path: Path) -> None:
    for life in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, bufsize=0
        )
        assert process.stdout is not None
        first = process.stdout.read(1)
        time.sleep(0.05 + 0.037 * life)
        process.send_signal(signal.SIGKILL)
        answers = first + process.stdout.read()
        process.wait()
        process.stdout.close()
        acknowledged = set(answers.split(b"\n")[:-1])
        (left,) = orphans(tmp_path)
        kept = lines(drained(left))
        left.close()
        assert len(acknowledged) > 10
        assert acknowledged <= set(kept)
        assert kept == [b"%d" % number for number in range(len(kept))]


def test_a_lock_ends_with_its_process_and_not_before(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    assert list(orphans(tmp_path)) == []
    process.kill()
    process.wait()
    process.stdout.close()
    (found,) = orphans(tmp_path)
    found.remove_shipped()
    assert list(found.path.glob("*.segment")), "what waits is not removed"
    drained(found)
    found.remove_shipped()
    assert not list(found.path.glob("*.segment"))
    found.close()
