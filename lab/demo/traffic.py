"""Live traffic at a steady rate, from a thread of its own: what callers send, and what they get."""

import asyncio
import itertools
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

CONNECTIONS = 24
TIMEOUT_SECONDS = 10.0

Payload = dict[str, str | float]


class Traffic:
    """Sends a payload every 1/rate seconds to POST /v1/infer until `stop`; requests are due by the clock.

    `change(payload)` is applied to every payload from when it is set. `answers` counts (status, variant).
    """

    def __init__(self, port: int, token: str, product: str, payloads: Iterable[Payload], rate: float) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self.change: Callable[[Payload], Payload] = lambda payload: payload
        self._port = port
        self._head = f"POST /v1/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        self._product = product
        self._payloads = itertools.cycle(list(payloads))
        self._rate = rate
        self._tag = secrets.token_hex(4)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(TIMEOUT_SECONDS + 1)

    @property
    def sent(self) -> int:
        return sum(self.answers.values())

    @property
    def failed(self) -> int:
        """Requests that a caller got no score for."""
        return sum(count for (status, _), count in self.answers.items() if status != 200)

    async def _run(self) -> None:
        due: asyncio.Queue[int] = asyncio.Queue()
        senders = [asyncio.create_task(self._send_all(due)) for _ in range(CONNECTIONS)]
        started = time.monotonic()
        for number in itertools.count():
            pause = started + number / self._rate - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            if self._stopping.is_set():
                break
            due.put_nowait(number)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)

    async def _send_all(self, due: "asyncio.Queue[int]") -> None:
        connection = None
        while True:
            number = await due.get()
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", self._port)
                outcome = await asyncio.wait_for(self._exchange(*connection, number), TIMEOUT_SECONDS)
            except (OSError, EOFError, TimeoutError):
                outcome, connection = (0, "none"), None
            self.answers[outcome] += 1

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> tuple[int, str]:
        event = {
            "event_id": f"{self._tag}-{number}",
            "product": self._product,
            "payload": self.change(dict(next(self._payloads))),
        }
        body = json.dumps(event).encode()
        writer.write(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        answer: dict[str, Any] = json.loads(await reader.readexactly(length))
        return int(head.split(" ", 2)[1]), str(answer.get("variant", "none"))
