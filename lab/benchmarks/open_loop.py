"""Load at a constant arrival rate, whatever the server does: latency counts from when a request was due.

A closed loop (wrk, hey) waits for an answer before it sends again, so a server that stalls is asked less
and its stall shows once: coordinated omission (Tene, "How NOT to Measure Latency"). Here request i is due at
start + i / rate; when every connection is busy it waits its turn and the wait counts.
One thread over epoll; a request costs about 25 us, so it must be checked against an empty answer first.
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

from lab.benchmarks.wrk import Target, new_tag

CONNECTIONS = 128
GRACE_SECONDS = 10.0  # for the last answers, after the last request was due


class Unreadable(Exception):
    """An answer that is not HTTP/1.1 with a Content-Length: this generator reads no other."""


@dataclass(frozen=True)
class Schedule:
    rate: float  # requests/s
    seconds: float
    offset: int = 0  # bodies to pass over first, so that no cache is warm

    @property
    def requests(self) -> int:
        return int(self.rate * self.seconds)


@dataclass(frozen=True)
class Recording:
    """`latency` in seconds from when a request was due, (n,), NaN where no 2xx came; request i was due at i / rate.

    `lateness`, (n,): how long after it was due a request left, for want of a free connection or of the generator's
    own time. `started` is on the clock of time.monotonic(). `cpu` is the generator's share of its core.
    """

    latency: np.ndarray
    lateness: np.ndarray
    started: float
    cpu: float

    @property
    def failed(self) -> int:
        return int(np.isnan(self.latency).sum())


class _Connection:
    __slots__ = ("number", "pending", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.number = -1  # of the request under way
        self.pending = b""


class _Generator:
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
        due = self._due.tolist()  # plain floats: indexing numpy one by one is slow
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
            # select() for its microseconds: epoll_wait() itself rounds up to whole milliseconds.
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
    """Status of the answer at the start of `data`, None while it is not whole; raises Unreadable."""
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


def drive(target: Target, schedule: Schedule, connections: int = CONNECTIONS) -> Recording:
    """Blocks until every request is answered, or GRACE_SECONDS after the last was due."""
    return _Generator(target, schedule, connections).run()


def drive_apart(target: Target, schedule: Schedule, folder: Path) -> "subprocess.Popen[bytes]":
    """The same in a process of its own, so that the caller can act meanwhile; `collect` reads what it leaves."""
    order = {"target": asdict(target) | {"bodies": str(target.bodies), "token": ""}, "schedule": asdict(schedule)}
    (folder / "order.json").write_text(json.dumps(order))
    environment = os.environ | {"BENCH_TOKEN": target.token}
    return subprocess.Popen([sys.executable, "-m", "lab.benchmarks.open_loop", str(folder)], env=environment)


def collect(folder: Path) -> Recording:
    with np.load(folder / "recording.npz") as kept:
        return Recording(kept["latency"], kept["lateness"], float(kept["started"]), float(kept["cpu"]))


def _requests(target: Target) -> list[tuple[bytes, bytes]]:
    """(all up to the event id, all after it) per line of the bodies; an id is 19 characters."""
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
    recording = drive(Target(**target), Schedule(**order["schedule"]))
    np.savez(folder / "recording.npz", **asdict(recording))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
