"""Callers of POST /v1/infer at a steady rate who keep every answer and repeat what was not answered."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lab.background import Background
from lab.load.generator import Generator, Summary
from lab.load.ledger import Ledger

ANSWER_SECONDS = 15.0
RECONNECT_SECONDS = 0.05
# Of connections that are opened at once, one worker may accept all.
CONNECT_GAP_SECONDS = 0.02
MAX_CONNECT_SECONDS = 1.0
DEFAULT_CALLERS = 16
REPEAT_BACK = 10

Payload = Mapping[str, Any]


class _Broken(Exception):
    """The connection ended before the answer was complete."""


def _as_given(payload: Payload) -> Payload:
    return payload


@dataclass
class Callers(Generator):
    """At most `connections` requests at once, `per_second` of them while answers come in time.

    Event n is called "<prefix>-<n>" and has payload n of `payloads`, which are used in turn. Every `repeat_every`-th
    request (0: none) repeats an earlier event, as callers do who missed the answer. `change` is applied to a payload
    as it is sent and may be replaced at any time. `leave_when_unavailable`: a caller that gets a 503 connects again,
    perhaps to another worker; otherwise one worker may hold every connection from the start.
    """

    port: int
    token: str
    product: str
    payloads: Sequence[Payload]
    per_second: float = 200.0
    connections: int = DEFAULT_CALLERS
    prefix: str = "event"
    repeat_every: int = 0
    leave_when_unavailable: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    change: Callable[[Payload], Payload] = _as_given

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._started = 0.0
        self._stopping = False
        self._background: Background | None = None
        self._running: Future[None] | None = None

    def start(self) -> None:
        self._started = time.monotonic()
        self._background = Background()
        self._running = self._background.start(self._run())

    def finish(self) -> Summary:
        """Send no more, wait for the requests in progress, and return the figures."""
        self.stop()
        milliseconds = np.percentile(self.ledger.seconds or [np.nan], (50, 95, 99, 100)) * 1e3
        failures = {str(status): count for status, count in self.ledger.refused.items()}
        failures |= {"broken": self.ledger.broken} if self.ledger.broken else {}
        p50, p95, p99, largest = milliseconds.tolist()
        return Summary(self.ledger.sent, time.monotonic() - self._started, p50, p95, p99, largest, failures)

    def stop(self) -> None:
        """Send no more and wait for the requests in progress; raises what a caller raised."""
        self._stopping = True
        if self._background is not None and self._running is not None:
            with self._background:
                self._running.result(ANSWER_SECONDS + 10)
            self._background = None

    async def _run(self) -> None:
        gap = min(CONNECT_GAP_SECONDS, MAX_CONNECT_SECONDS / self.connections)
        await asyncio.gather(*(self._call(place * gap) for place in range(self.connections)))

    async def _call(self, after_seconds: float) -> None:
        """Send requests over one connection at a time, which is opened again when it breaks."""
        await asyncio.sleep(after_seconds)
        connection: _Connection | None = None
        while not self._stopping:
            number = next(self._numbers)
            await self._until_due(number)
            body, event_id = self._event(number)
            while not self._stopping:
                try:
                    connection = connection or await _Connection.open(self.port, self.token)
                    self.ledger.sent += 1
                    connection = await self._exchange(connection, body, event_id)
                    break
                except ConnectionRefusedError:
                    self.ledger.unreached += 1
                except (_Broken, OSError, TimeoutError):
                    self.ledger.broken += 1
                if connection:
                    connection.close()
                connection = None
                await asyncio.sleep(RECONNECT_SECONDS)
        if connection:
            connection.close()

    async def _until_due(self, number: int) -> None:
        wait = self._started + number / self.per_second - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    def _event(self, number: int) -> tuple[bytes, str]:
        if self.repeat_every and number % self.repeat_every == self.repeat_every - 1:
            number -= REPEAT_BACK
        event_id = f"{self.prefix}-{number}"
        payload = self.change(self.payloads[number % len(self.payloads)])
        return json.dumps({"event_id": event_id, "product": self.product, "payload": payload}).encode(), event_id

    async def _exchange(self, connection: "_Connection", body: bytes, event_id: str) -> "_Connection | None":
        """Send one request and record its answer; return the connection if the server keeps it open."""
        started = time.monotonic()
        status, headers, content = await asyncio.wait_for(connection.exchange(body), ANSWER_SECONDS)
        document = json.loads(content)
        if status == 200:
            self.ledger.answer(event_id, document, time.monotonic() - started)
        else:
            self.ledger.refusal(status, document.get("detail", ""), b"\r\nretry-after:" in headers)
        if b"\r\nconnection: close" in headers or (status == 503 and self.leave_when_unavailable):
            connection.close()
            return None
        return connection


class _Connection:
    """As much of HTTP/1.1 with keep-alive as the callers need."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self._reader = reader
        self._writer = writer
        self._head = (
            f"POST /v1/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Length: "
        ).encode()

    @classmethod
    async def open(cls, port: int, token: str) -> "_Connection":
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), ANSWER_SECONDS)
        return cls(reader, writer, token)

    async def exchange(self, body: bytes) -> tuple[int, bytes, bytes]:
        """Return status, lower-case headers and body. Raises _Broken."""
        self._writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        try:
            headers = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(headers.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            return int(headers[9:12]), headers, await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise _Broken from None

    def close(self) -> None:
        self._writer.close()
