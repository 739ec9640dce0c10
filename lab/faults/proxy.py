"""A TCP proxy on 127.0.0.1 that does to connections what networks and dying servers do."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from lab.background import Background

CHUNK_BYTES = 1 << 14
CONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Behaviour:
    """The proxy's treatment of the bytes it forwards.

    `refuse`: every connection is closed. `hang`: connections are accepted and nothing is forwarded.
    `bytes_per_second` and `max_bytes` limit the answers of one connection; past `max_bytes` it is closed.
    """

    refuse: bool = False
    hang: bool = False
    bytes_per_second: float | None = None
    max_bytes: int | None = None


PASS = Behaviour()


class Proxy:
    """Connect to `port`. With several targets it is a load balancer: round robin, past targets that refuse."""

    def __init__(self, background: Background, *targets: int) -> None:
        self._background = background
        self._targets = list(targets)
        self._next = 0
        self._behaviour = PASS
        self._passing = asyncio.Event()
        self._connections: set[asyncio.StreamWriter] = set()
        self._server = background.run(self._listen())
        self.port = int(self._server.sockets[0].getsockname()[1])

    def behave(self, behaviour: Behaviour) -> None:
        """Behave so from now on, for open connections too."""
        self._background.call(lambda: self._change(behaviour))

    @contextlib.contextmanager
    def behaving(self, behaviour: Behaviour) -> Iterator[None]:
        self.behave(behaviour)
        try:
            yield
        finally:
            self.behave(PASS)

    def cut(self) -> None:
        """Close every open connection; new ones are accepted as before."""
        self._background.call(self._end_connections)

    def point_at(self, *targets: int) -> None:
        """Forward new connections to these ports; open ones stay."""
        self._targets = list(targets)

    def close(self) -> None:
        self.behave(Behaviour(refuse=True))
        self._background.call(self._server.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _listen(self) -> asyncio.Server:
        self._passing.set()
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    def _change(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        if behaviour.hang:
            self._passing.clear()
        else:
            self._passing.set()
        if behaviour.refuse:
            self._end_connections()

    def _end_connections(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            await self._passing.wait()
            if not self._behaviour.refuse:
                await self._join(reader, writer)
        except OSError:
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await self._connect()
        self._connections.add(onward_writer)
        try:
            pumps = {
                asyncio.ensure_future(self._pump(reader, onward_writer, answers=False)),
                asyncio.ensure_future(self._pump(onward_reader, writer, answers=True)),
            }
            # When one direction ends, close both: no protocol that is proxied here half-closes.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
        finally:
            self._connections.discard(onward_writer)
            onward_writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the next target that accepts; raises OSError if none does."""
        self._next = first = self._next + 1
        targets = self._targets
        for offset in range(len(targets)):
            target = targets[(first + offset) % len(targets)]
            with contextlib.suppress(OSError):
                return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", target), CONNECT_SECONDS)
        raise ConnectionRefusedError("no target accepts a connection")

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._passing.wait()
                limits = self._behaviour if answers else PASS
                if limits.max_bytes is not None and passed + len(data) > limits.max_bytes:
                    writer.write(data[: max(0, limits.max_bytes - passed)])
                    await writer.drain()
                    return
                passed += len(data)
                writer.write(data)
                await writer.drain()
                if limits.bytes_per_second:
                    await asyncio.sleep(len(data) / limits.bytes_per_second)
