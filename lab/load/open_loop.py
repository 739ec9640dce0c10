"""Load at a constant arrival rate, whatever the server does: latency counts from when a request was due.

A closed loop (wrk, hey) waits for an answer before it sends again, so a server that stalls receives fewer requests and
its stall shows once: coordinated omission (Tene, "How NOT to Measure Latency"). Here request i is due at
start + i / rate; when every connection is busy it waits for a free one, and the wait counts.
One thread over epoll. A request costs the generator about 25 us, so check it against an empty answer first.
"""

import gc
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from lab.errors import LoadFailed
from lab.load.generator import Generator, Summary, Target, new_tag
from lab.process import ROOT, tether

DEFAULT_OPEN_CONNECTIONS = 128
GRACE_SECONDS = 10.0  # for the last answers, after the last request was due
START_SECONDS = 60.0  # for the generator's process, beyond its schedule
PERCENTILES = (50, 95, 99, 100)


class Unreadable(Exception):
    """An answer that is not HTTP/1.1 with a Content-Length: this generator reads nothing else."""


@dataclass(frozen=True)
class Schedule:
    """`rate` in requests/s; `offset`: how many bodies to skip, so that no cache is warm."""

    rate: float
    seconds: float
    offset: int = 0

    @property
    def requests(self) -> int:
        return int(self.rate * self.seconds)


@dataclass(frozen=True)
class Recording:
    """The result of each request; request i was due at i / rate.

    `latency`, (n,): seconds from when the request was due to its 2xx answer, NaN if none came.
    `lateness`, (n,): seconds from when it was due until it was sent, for lack of a free connection or of CPU time of
    the generator. `started` is on the clock of time.monotonic(). `cpu`: share of its core that the generator used.
    """

    latency: NDArray[np.float64]
    lateness: NDArray[np.float64]
    started: float
    cpu: float

    @property
    def failed(self) -> int:
        return int(np.isnan(self.latency).sum())


class OpenLoop(Generator):
    """The generator in a process of its own, so that the caller can act meanwhile. `folder` receives its files."""

    def __init__(self, target: Target, schedule: Schedule, folder: Path) -> None:
        self._target, self._schedule, self._folder = target, schedule, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        target = asdict(self._target) | {"bodies": str(self._target.bodies), "token": ""}
        order = {"target": target, "schedule": asdict(self._schedule)}
        (self._folder / "order.json").write_text(json.dumps(order))
        command = [*tether(), sys.executable, "-m", "lab.load.open_loop", str(self._folder)]
        environment = os.environ | {"BENCH_TOKEN": self._target.token}
        self._process = subprocess.Popen(command, env=environment, cwd=ROOT)

    def finish(self) -> Summary:
        return _summary(self.recording(), self._schedule)

    def recording(self) -> Recording:
        """Wait until the load is over; return what became of each request. Raises LoadFailed."""
        assert self._process is not None
        try:
            code = self._process.wait(self._schedule.seconds + GRACE_SECONDS + START_SECONDS)
        except subprocess.TimeoutExpired:
            raise LoadFailed("the open-loop generator did not end in time") from None
        if code:
            raise LoadFailed(f"the open-loop generator ended with {code}")
        with np.load(self._folder / "recording.npz") as kept:
            return Recording(kept["latency"], kept["lateness"], float(kept["started"]), float(kept["cpu"]))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def record(target: Target, schedule: Schedule, connections: int = DEFAULT_OPEN_CONNECTIONS) -> Recording:
    """Send all in this process; return when every request is answered, or GRACE_SECONDS after the last was due."""
    return _Sender(target, schedule, connections).run()


class _Connection:
    __slots__ = ("number", "pending", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.number = -1  # of the request in progress
        self.pending = b""


class _Sender:
    def __init__(self, target: Target, schedule: Schedule, connections: int) -> None:
        url = urlsplit(target.url)
        self._requests = _requests(target)
        self._tag = new_tag()
        self._schedule = schedule
        address = (url.hostname or "", url.port or 80)
        self._connections = {one.socket.fileno(): one for one in (_Connection(address) for _ in range(connections))}
        self._free = deque(self._connections.values())
        self._epoll = select.epoll()
        for number in self._connections:
            self._epoll.register(number, select.EPOLLIN)
        self._due = np.arange(schedule.requests) / schedule.rate
        self._latency = np.full(schedule.requests, np.nan)
        self._lateness = np.full(schedule.requests, np.nan)
        self._sent = self._answered = 0

    def run(self) -> Recording:
        due = self._due.tolist()  # plain floats: indexing a numpy array one by one is slow
        count = len(due)
        gc.collect()
        gc.freeze()
        started = time.monotonic()
        cpu_started = time.process_time()
        deadline = started + self._schedule.seconds + GRACE_SECONDS
        while self._answered < count:
            now = time.monotonic()
            while self._sent < count and self._free and started + due[self._sent] <= now:
                self._send(self._free.popleft(), self._sent, now - started - due[self._sent])
                self._sent += 1
                now = time.monotonic()
            if now > deadline:
                break
            waiting = self._sent < count and self._free
            pause = started + due[self._sent] - now if waiting else 0.1
            # select() for its microseconds: epoll_wait() rounds up to whole milliseconds.
            select.select((self._epoll,), (), (), max(0.0, pause))
            for number, _ in self._epoll.poll(0):
                self._receive(self._connections[number], started)
        cpu = (time.process_time() - cpu_started) / (time.monotonic() - started)
        for connection in self._connections.values():
            connection.socket.close()
        return Recording(self._latency, self._lateness, started, cpu)

    def _send(self, connection: _Connection, number: int, lateness: float) -> None:
        head, tail = self._requests[(self._schedule.offset + number) % len(self._requests)]
        connection.number, connection.pending = number, b""
        self._lateness[number] = lateness
        connection.socket.sendall(b"%b%b%09d%b" % (head, self._tag.encode(), number, tail))

    def _receive(self, connection: _Connection, started: float) -> None:
        data = connection.pending + connection.socket.recv(65536)
        if not data:
            raise Unreadable("the server closed a kept-alive connection")
        status = answered(data)
        if status is None:
            connection.pending = data
            return
        if 200 <= status < 300:
            number = connection.number
            self._latency[number] = time.monotonic() - started - self._due[number]
        self._answered += 1
        self._free.append(connection)


def answered(data: bytes) -> int | None:
    """Return the status of the answer in `data`, None until it is complete. Raises Unreadable."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if not head.startswith(b"http/1.1 ") or at < 0:
        raise Unreadable("an answer without HTTP/1.1 or Content-Length")
    line_end = head.find(b"\r\n", at + 2)
    length = int(head[at + 17 : line_end if line_end >= 0 else end])
    return int(head[9:12]) if len(data) >= end + 4 + length else None


def _summary(recording: Recording, schedule: Schedule) -> Summary:
    answered_in = recording.latency[~np.isnan(recording.latency)]
    ranks = np.percentile(answered_in, PERCENTILES) * 1e3 if answered_in.size else np.full(len(PERCENTILES), np.nan)
    failures = {"unanswered": recording.failed} if recording.failed else {}
    p50, p95, p99, largest = ranks.tolist()
    return Summary(schedule.requests, schedule.seconds, p50, p95, p99, largest, failures)


def _requests(target: Target) -> list[tuple[bytes, bytes]]:
    """Return (everything up to the event id, everything after it) per line of the bodies; an id has 19 characters."""
    url = urlsplit(target.url)
    fixed = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
    if target.token:
        fixed += f"Authorization: Bearer {target.token}\r\n"
    pairs = []
    for line in target.bodies.read_text().splitlines():
        tail = line.encode()
        length = len(target.head) + 19 + len(tail)
        pairs.append((f"{fixed}Content-Length: {length}\r\n\r\n{target.head}".encode(), tail))
    return pairs


def _main(folder: Path) -> None:
    order = json.loads((folder / "order.json").read_text())
    target = order["target"] | {"bodies": Path(order["target"]["bodies"]), "token": os.environ["BENCH_TOKEN"]}
    recording = record(Target(**target), Schedule(**order["schedule"]))
    np.savez(folder / "recording.npz", **asdict(recording))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
