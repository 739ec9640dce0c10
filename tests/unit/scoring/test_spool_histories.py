"""Random orders of writes, refused writes, shipping, full disks, kills and restarts: each row once, or refused."""

import contextlib
import errno
import os
import queue
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime import metrics
from scoring.log.spool import Spool
from tests.support.spooled import bodies

SEGMENT = 64 << 10
STEPS = 150
BODY_BYTES = (10, 100, 500, 5_000, 20_000, 40_000, 75_000)


class Disk:
    """Writes to a segment, of which some fail: before, within or after their bytes, or without an error."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._write = os.pwritev
        self.next_fault: str | None = None

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        fault, self.next_fault = self.next_fault, None
        if fault is None:
            return self._write(fd, buffers, offset)
        content = b"".join(buffers)
        size = {"nothing": 0, "everything": len(content)}.get(fault, self._draw.randrange(1, len(content)))
        os.pwrite(fd, content[:size], offset)
        if fault == "cut short":
            return size
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def copy_if_there(source: str, target: str) -> None:
    """Copy a file unless the living process has removed it."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


class History:
    """One spool through several lives. Row n begins with n."""

    def __init__(self, folder: Path, draw: random.Random, disk: Disk) -> None:
        self._folder, self._draw, self._disk = folder, draw, disk
        self._lives = 0
        self.spool = self._open()
        self.appended = 0
        self.acknowledged: list[int] = []
        self.shipped: list[int] = []
        # Refused by the disk, which took no other write before the process ended: their bytes may be there.
        self.in_doubt: set[int] = set()
        self._refused: set[int] = set()

    def append(self) -> None:
        number, self.appended = self.appended, self.appended + 1
        if self._draw.random() < 0.15:
            self._disk.next_fault = self._draw.choice(["nothing", "part", "everything", "cut short"])
        outcome: queue.Queue[Any] = queue.Queue()
        body = b"%d " % number + b"x" * self._draw.choice(BODY_BYTES) + b"\n"
        self.spool.append("predictions", body, 1, 1.0, outcome.put)
        if outcome.get(timeout=10) is None:
            self.acknowledged.append(number)
            self._refused.clear()
        else:
            self._refused.add(number)
        self._disk.next_fault = None

    def ship(self, max_rows: int) -> bool:
        reading = self.spool.file.read(max_rows)
        if reading is None:
            return False
        self.shipped += [int(body.split()[0]) for body in bodies(reading.groups)]
        self.spool.shipped(reading)
        return True

    def restart(self, *, killed: bool) -> None:
        """Go on with what is on the disk; a killed process leaves it as it is at some moment."""
        before = self._folder / str(self._lives)
        self._lives += 1
        if killed:
            shutil.copytree(before, self._folder / str(self._lives), copy_function=copy_if_there)
        self.spool.close()
        if not killed:
            shutil.copytree(before, self._folder / str(self._lives))
        shutil.rmtree(before)
        self.spool = self._open()
        self.in_doubt |= self._refused
        self._refused.clear()

    def _open(self) -> Spool:
        return Spool.open(self._folder / str(self._lives), limit_bytes=1 << 30, segment_bytes=SEGMENT)


@pytest.mark.parametrize("seed", range(8))
def test_every_acknowledged_row_is_shipped_once_in_order_and_no_refused_row_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw = random.Random(seed)
    disk = Disk(draw)
    monkeypatch.setattr(os, "pwritev", disk.pwritev)
    damaged = metrics.log_damaged._value.get()
    history = History(tmp_path, draw, disk)
    for _ in range(STEPS):
        step = draw.random()
        if step < 0.6:
            history.append()
        elif step < 0.9:
            for _ in range(draw.randrange(1, 4)):
                history.ship(draw.choice([1, 3, 50]))
        elif step < 0.93:
            monkeypatch.setattr("scoring.log.segment_supply.RESERVE_BYTES", draw.choice([0, 1 << 62]))
        else:
            time.sleep(0.02 * draw.random())
            history.restart(killed=draw.random() < 0.6)
    while history.ship(50):
        pass
    try:
        assert history.shipped == sorted(set(history.shipped))
        assert set(history.acknowledged) <= set(history.shipped)
        assert set(history.shipped) <= {*history.acknowledged, *history.in_doubt}
        assert (history.spool.waiting_rows, history.spool.waiting_bytes) == (0, 0)
        assert metrics.log_damaged._value.get() == damaged
        assert len(history.acknowledged) > 20
    finally:
        history.spool.close()
