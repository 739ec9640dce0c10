"""A small HTTP server that a test can make stall, fail, hang up, or answer with a given body."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Behaviour:
    """`stall`: (after how many requests, for how many seconds). `hang_up`: requests, by number, that get no answer.

    `connections`: how many were accepted.
    """

    status: int = 200
    stall: tuple[int, float] | None = None
    answer: bytes = b'{"score":0.25}'
    hang_up: frozenset[int] = frozenset()
    bodies: list[dict[str, object]] = field(default_factory=list)
    connections: int = 0


Serve = Callable[[Behaviour], str]


@contextmanager
def scripted_server(behaviour: Behaviour) -> Iterator[str]:
    """Yield the URL of a server that runs until the block ends."""
    loop = asyncio.new_event_loop()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour.connections += 1
        while head := await _head(reader):
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            behaviour.bodies.append(json.loads(await reader.readexactly(length)))
            if len(behaviour.bodies) in behaviour.hang_up:
                break
            if behaviour.stall and len(behaviour.bodies) == behaviour.stall[0]:
                time.sleep(behaviour.stall[1])  # stalls the whole server, as a long garbage collection would
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
