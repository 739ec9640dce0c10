"""Free TCP ports on 127.0.0.1."""

import socket


def free_port(preferred: int = 0) -> int:
    """Return `preferred` if it is free, else a free port that the kernel chooses."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port`."""
    return free_port(port) == port
