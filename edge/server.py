"""uvicorn's server, with an end that fails no call."""

import asyncio
import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

import uvicorn

# Where the lifespan's state names the siblings.
SIBLINGS_KEY = "sira.siblings"
# How long callers have to meet the end of their connection with an answer; what is idle then is closed.
LEAVE_SECONDS = 2.0


class Siblings:
    """The workers that share a listening socket, each with a shared lock on one file: a dead one holds none."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / "serving.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Whether none is left. Of several that leave at once it is true for one at least."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(self._fd)
        return True


class LeavingServer(uvicorn.Server):
    """uvicorn closes idle connections at once, some of them under a request that is on its way."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, close each open one with its next answer, then end as uvicorn does."""
        siblings: Siblings | None = self.lifespan.state.get(SIBLINGS_KEY)
        if siblings is not None and siblings.leave():
            for listening in sockets or []:
                # Closing is not enough: BentoML's arbiter holds it too, and callers would queue there for nobody.
                with contextlib.suppress(OSError):
                    listening.shutdown(socket.SHUT_RDWR)
        for server in self.servers:
            server.close()
        self.server_state.leaving = True  # type: ignore[attr-defined]
        for connection in self.server_state.connections:
            if under_way := getattr(connection, "cycle", None):
                under_way.keep_alive = False
        deadline = time.monotonic() + LEAVE_SECONDS
        while self.server_state.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
