"""Callers at a steady rate, over loopback, who keep every answer they get."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lab.faults.background import Background
from lab.faults.ledger import Ledger

ANSWER_SECONDS = 15.0
RECONNECT_SECONDS = 0.05
# Every so many requests one repeats an earlier event, as callers do who did not hear the answer.
REPEAT_EVERY, REPEAT_BACK = 20, 10


@dataclass(frozen=True)
class Callers:
    """Who calls what: at most `connections` requests at once, `per_second` of them when answers come in time."""

    port: int
    token: str
    product: str
    payloads: Sequence[dict[str, Any]]
    per_second: float = 200.0
    connections: int = 16
    prefix: str = "event"


class _Broken(Exception):
    """The connection ended before the answer was whole."""


@contextlib.contextmanager
def calling(background: Background, callers: Callers, ledger: Ledger) -> Iterator[None]:
    """Load until the block ends; then what is under way is waited for."""
    load = _Load(callers, ledger)
    running = background.start(load.run())
    try:
        yield
    finally:
        load.stopping = True
        running.result(ANSWER_SECONDS + 10)


class _Load:
    def __init__(self, callers: Callers, ledger: Ledger) -> None:
        self._callers = callers
        self._ledger = ledger
        self._numbers = itertools.count()
        self._started = time.monotonic()
        self.stopping = False

    async def run(self) -> None:
        await asyncio.gather(*(self._caller() for _ in range(self._callers.connections)))

    async def _caller(self) -> None:
        """One connection's worth of requests, made anew when it breaks."""
        connection: _Connection | None = None
        while not self.stopping:
            number = next(self._numbers)
            await self._until_due(number)
            body, event_id = self._event(number)
            while not self.stopping:
                try:
                    connection = connection or await _Connection.open(self._callers)
                    self._ledger.sent += 1
                    connection = await self._ask(connection, body, event_id)
                    break
                except ConnectionRefusedError:
                    self._ledger.unreached += 1
                except (_Broken, OSError, TimeoutError):
                    self._ledger.broken += 1
                if connection:
                    connection.close()
                connection = None
                await asyncio.sleep(RECONNECT_SECONDS)
        if connection:
            connection.close()

    async def _until_due(self, number: int) -> None:
        wait = self._started + number / self._callers.per_second - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    def _event(self, number: int) -> tuple[bytes, str]:
        if number % REPEAT_EVERY == REPEAT_EVERY - 1:
            number -= REPEAT_BACK
        callers = self._callers
        event_id = f"{callers.prefix}-{number}"
        payload = callers.payloads[number % len(callers.payloads)]
        return json.dumps({"event_id": event_id, "product": callers.product, "payload": payload}).encode(), event_id

    async def _ask(self, connection: "_Connection", body: bytes, event_id: str) -> "_Connection | None":
        """The connection, if the server keeps it."""
        started = time.monotonic()
        status, headers, content = await asyncio.wait_for(connection.exchange(body), ANSWER_SECONDS)
        document = json.loads(content)
        if status == 200:
            self._ledger.answer(event_id, document, time.monotonic() - started)
        else:
            self._ledger.refusal(status, document.get("detail", ""), b"\r\nretry-after:" in headers)
        if b"\r\nconnection: close" in headers:
            connection.close()
            return None
        return connection


class _Connection:
    """HTTP/1.1 with keep-alive, just enough of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, callers: Callers) -> None:
        self._reader = reader
        self._writer = writer
        self._head = (
            f"POST /v1/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {callers.token}\r\nContent-Length: "
        ).encode()

    @classmethod
    async def open(cls, callers: Callers) -> "_Connection":
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", callers.port), ANSWER_SECONDS)
        return cls(reader, writer, callers)

    async def exchange(self, body: bytes) -> tuple[int, bytes, bytes]:
        """Status, lower-case headers and body; raises _Broken."""
        self._writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        try:
            headers = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(headers.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            return int(headers[9:12]), headers, await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise _Broken from None

    def close(self) -> None:
        self._writer.close()
