"""A real HTTP server of a few lines that can be made to stall, to fail, or to score."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest


@dataclass
class Behaviour:
    """`stall` = (after how many requests, for how many seconds)."""

    status: int = 200
    stall: tuple[int, float] | None = None
    answer: bytes = b'{"score":0.25}'
    bodies: list[dict[str, object]] = field(default_factory=list)


Serve = Callable[[Behaviour], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(behaviour)`: the address of a running server; all are stopped after the test."""
    running = []

    def start(behaviour: Behaviour) -> str:
        context = _server(behaviour)
        running.append(context)
        return context.__enter__()

    yield start
    for context in running:
        context.__exit__(None, None, None)


@contextmanager
def _server(behaviour: Behaviour) -> Iterator[str]:
    loop = asyncio.new_event_loop()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            behaviour.bodies.append(json.loads(await reader.readexactly(length)))
            if behaviour.stall and len(behaviour.bodies) == behaviour.stall[0]:
                time.sleep(behaviour.stall[1])  # stalls the whole server, as a long collection would
            answer = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (behaviour.status, len(behaviour.answer))
            writer.write(answer + behaviour.answer)
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/infer"
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return b""
