"""uvicorn's server, with a shutdown that fails no call."""

import asyncio
import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

import uvicorn

# Key of the siblings in the lifespan's state.
SIBLINGS_KEY = "sira.siblings"
# How long open connections may wait for their next answer, which closes them; idle ones are closed after that.
LEAVE_SECONDS = 2.0


class Siblings:
    """The workers of one listening socket. Each holds a shared lock on a file, which its death releases."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / "serving.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Release the lock; return whether this was the last worker. Of several at once, at least one gets True."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(self._fd)
        return True


class LeavingServer(uvicorn.Server):
    """Close connections with their next answer; uvicorn closes idle ones at once, even with a request on its way."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, close each open one with its next answer, then end as uvicorn does."""
        siblings: Siblings | None = self.lifespan.state.get(SIBLINGS_KEY)
        if siblings is not None and siblings.leave():
            for listening in sockets or []:
                # BentoML's arbiter holds the socket too: if only closed here, callers would queue in its backlog.
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
