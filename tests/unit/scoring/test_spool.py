"""The local log: what was said to be durable is there, whatever happens next."""

import os
import queue
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scoring.log.spool import (
    RESERVE_BYTES,
    SPACE_CHECK_BYTES,
    Spool,
    SpoolError,
    SpoolFull,
    SpoolUnwritable,
    bytes_to_leave,
)
from scoring.log.spool_file import SpoolFile, orphans

LIMIT = 1 << 20
ROOT = Path(__file__).resolve().parents[3]


def append(spool: Spool, body: bytes = b"row\n", rows: int = 1) -> "queue.Queue[SpoolError | None]":
    answers: queue.Queue[SpoolError | None] = queue.Queue()
    spool.append("predictions", body, rows, 1.5, answers.put)
    return answers


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool.open(tmp_path, limit_bytes=LIMIT)
    yield opened
    opened.close()


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """While it lasts no file of this process grows past a size: what a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def wait_until(true: object) -> bool:
    assert callable(true)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.01)
    return False


def test_a_batch_is_on_disk_when_its_caller_is_notified(spool: Spool) -> None:
    assert append(spool, b"a\nb\n", rows=2).get(timeout=5) is None
    with sqlite3.connect(spool.file.path) as other:
        assert other.execute("SELECT spooled_at, target, rows, body FROM batches").fetchall() == [
            (1.5, "predictions", 2, b"a\nb\n")
        ]


def test_only_the_owner_may_read_what_was_spooled(spool: Spool) -> None:
    assert append(spool).get(timeout=5) is None
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in spool.file.path.parent.glob("spool-0.*")}
    assert modes == {".sqlite": 0o600, ".sqlite-wal": 0o600, ".sqlite-shm": 0o600, ".lock": 0o600}


def test_every_commit_is_synced_to_disk(spool: Spool) -> None:
    assert spool._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert spool._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_batches_come_back_in_the_order_they_were_appended(spool: Spool) -> None:
    answers = [append(spool, b"%d\n" % n) for n in range(500)]
    assert {answer.get(timeout=5) for answer in answers} == {None}
    batches = spool.file.batches(after_seq=0, limit=1000)
    assert [batch.body for batch in batches] == [b"%d\n" % n for n in range(500)]
    assert spool.file.batches(after_seq=batches[9].seq, limit=2) == batches[10:12]


def test_what_arrives_during_a_commit_shares_the_next_one(spool: Spool) -> None:
    commits = []
    spool._writer.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)
    answers = [append(spool) for _ in range(2_000)]
    assert {answer.get(timeout=20) for answer in answers} == {None}
    assert len(commits) < 1_000


def test_the_backlog_is_counted_and_let_go_of(spool: Spool) -> None:
    for _ in range(3):
        append(spool, b"12345\n", rows=1).get(timeout=5)
    assert (spool.waiting_rows, spool.waiting_bytes) == (3, 18)
    first, second, _ = spool.file.batches(after_seq=0, limit=10)
    spool.shipped([first, second])
    assert (spool.waiting_rows, spool.waiting_bytes) == (1, 6)
    append(spool).get(timeout=5)
    assert [batch.seq for batch in spool.file.batches(after_seq=0, limit=10)] == [3, 4]


def test_a_full_spool_refuses_and_takes_again_once_some_is_shipped(spool: Spool) -> None:
    half = b"x" * (LIMIT // 2)
    assert append(spool, half).get(timeout=5) is None
    assert append(spool, half).get(timeout=5) is None
    assert not spool.writable
    assert isinstance(append(spool).get(timeout=5), SpoolFull)
    spool.shipped(spool.file.batches(after_seq=0, limit=1))
    assert spool.writable
    assert append(spool).get(timeout=5) is None


def test_a_full_disk_is_reported_and_the_spool_recovers_by_itself(spool: Spool) -> None:
    assert append(spool).get(timeout=5) is None
    with largest_file(64 << 10):
        error = append(spool, b"x" * (200 << 10)).get(timeout=5)
        assert isinstance(error, SpoolUnwritable)
        assert not spool.writable
        assert (spool.waiting_rows, spool.waiting_bytes) == (1, 4)
    assert wait_until(lambda: spool.writable), "the writer's own probe finds the disk well again"
    assert append(spool).get(timeout=5) is None
    assert [batch.body for batch in spool.file.batches(after_seq=0, limit=10)] == [b"row\n", b"row\n"]


def test_a_full_spool_takes_the_trip_of_a_fuse(spool: Spool) -> None:
    append(spool, b"x" * LIMIT).get(timeout=5)
    answers: queue.Queue[SpoolError | None] = queue.Queue()
    spool.append("trips", b"trip\n", 1, 1.5, answers.put)
    assert answers.get(timeout=5) is None
    assert [batch.target for batch in spool.file.batches(after_seq=0, limit=10)] == ["predictions", "trips"]


def test_a_spool_too_full_for_the_next_row_says_so(spool: Spool) -> None:
    assert append(spool, b"x" * (LIMIT - 1)).get(timeout=5) is None
    assert spool.writable
    assert isinstance(append(spool, b"xx").get(timeout=5), SpoolFull)
    assert not spool.writable
    spool.shipped(spool.file.batches(after_seq=0, limit=1))
    assert spool.writable


def test_the_last_of_a_disk_is_kept_for_forgetting_rows(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert append(spool).get(timeout=5) is None
    with monkeypatch.context() as patched:
        patched.setattr("scoring.log.spool.RESERVE_BYTES", 1 << 62)
        patched.setattr("scoring.log.spool.SPACE_CHECK_BYTES", 0)
        assert isinstance(append(spool).get(timeout=5), SpoolUnwritable)
        assert not spool.writable
        spool.shipped(spool.file.batches(after_seq=0, limit=1))
        assert wait_until(lambda: spool.file.backlog().rows == 0)
    assert wait_until(lambda: spool.writable)


def test_a_full_disk_must_have_more_left_to_begin_again_than_to_go_on() -> None:
    much = 2 * SPACE_CHECK_BYTES
    assert bytes_to_leave(much, refusing=False) == RESERVE_BYTES
    assert bytes_to_leave(much, refusing=True) == RESERVE_BYTES + SPACE_CHECK_BYTES
    assert bytes_to_leave(0, refusing=True) == RESERVE_BYTES, "what others fill cannot keep an empty spool away"


def test_on_a_full_disk_a_file_keeps_no_empty_pages_from_those_of_other_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool.open(tmp_path, limit_bytes=1 << 30)
    try:
        for _ in range(4):
            assert append(spool, b"x" * SPACE_CHECK_BYTES).get(timeout=5) is None
        spool.shipped(spool.file.batches(after_seq=0, limit=4))
        assert append(spool, b"kept\n").get(timeout=5) is None, "the commit with which shipped rows leave the file"
        assert spool.file.path.stat().st_size > 4 * SPACE_CHECK_BYTES
        with monkeypatch.context() as patched:
            patched.setattr("scoring.log.spool.RESERVE_BYTES", 1 << 62)
            assert isinstance(append(spool, b"x" * SPACE_CHECK_BYTES).get(timeout=5), SpoolUnwritable)
            assert isinstance(append(spool).get(timeout=5), SpoolUnwritable)
        held = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert held < SPACE_CHECK_BYTES
        assert [batch.body for batch in spool.file.batches(after_seq=0, limit=9)] == [b"kept\n"]
        assert wait_until(lambda: spool.writable)
        assert append(spool).get(timeout=5) is None
    finally:
        spool.close()


def test_batches_refused_by_the_disk_do_not_come_back_later(spool: Spool) -> None:
    with largest_file(64 << 10):
        answers = [append(spool, b"x" * (100 << 10)) for _ in range(3)]
        assert all(isinstance(answer.get(timeout=5), SpoolUnwritable) for answer in answers)
    assert wait_until(lambda: spool.writable)
    assert spool.file.batches(after_seq=0, limit=10) == []


def test_a_file_is_claimed_by_one_process_alone(spool: Spool, tmp_path: Path) -> None:
    assert SpoolFile.claim(spool.file.path) is None
    other = Spool.open(tmp_path, limit_bytes=LIMIT)
    assert other.file.path != spool.file.path
    other.close()


def test_an_own_file_is_no_orphan(spool: Spool, tmp_path: Path) -> None:
    assert list(orphans(tmp_path)) == []


def test_the_next_process_takes_over_the_file_of_a_closed_one_with_its_backlog(tmp_path: Path) -> None:
    first = Spool.open(tmp_path, limit_bytes=LIMIT)
    append(first, b"left behind\n").get(timeout=5)
    first.close()
    second = Spool.open(tmp_path, limit_bytes=LIMIT)
    assert second.file.path == first.file.path
    assert (second.waiting_rows, second.waiting_bytes) == (1, 12)
    second.close()


def test_rows_set_aside_are_kept_with_their_reason_and_out_of_the_way(spool: Spool) -> None:
    spool.file.quarantine("predictions", b"bad\n", "DataError 22P02", 2.5)
    assert spool.file.refused() == 1
    assert spool.file.batches(after_seq=0, limit=10) == []


APPENDER = """
import os, sys, time
from pathlib import Path
from scoring.log.spool import Spool
spool = Spool.open(Path(sys.argv[1]), limit_bytes=1 << 30)
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
    acknowledged: set[bytes] = set()
    for life in range(5):
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
        kept = [batch.body.strip() for batch in left.batches(after_seq=0, limit=1_000_000)]
        left.delete(1 << 60)
        left.close()
        assert len(acknowledged) > 10
        assert acknowledged <= set(kept)
        assert len(kept) == len(set(kept))


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
    found = list(orphans(tmp_path))
    assert len(found) == 1
    found[0].close()
