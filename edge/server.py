"""uvicorn's server, with an end that fails no call."""

import asyncio
import contextlib
import socket
import time

import uvicorn

# How long callers have to meet the end of their connection with an answer; what is idle then is closed.
LEAVE_SECONDS = 2.0


class LeavingServer(uvicorn.Server):
    """uvicorn closes idle connections at once, some of them under a request that is on its way."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new connections, close each open one with its next answer, then end as uvicorn does."""
        for listening in sockets or []:
            # Closing is not enough: BentoML's arbiter holds it too, and callers would queue there for nobody.
            with contextlib.suppress(OSError):  # another worker was quicker
                listening.shutdown(socket.SHUT_RDWR)
        self.server_state.leaving = True  # type: ignore[attr-defined]
        for connection in self.server_state.connections:
            if under_way := getattr(connection, "cycle", None):
                under_way.keep_alive = False
        deadline = time.monotonic() + LEAVE_SECONDS
        while self.server_state.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
