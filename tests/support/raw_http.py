"""HTTP/1.1 by hand, for what no client library would send."""

import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Spoken:
    """What came back until the other side had said all, or hung up. Status 0: nothing."""

    status: int
    head: str
    body: bytes

    @property
    def closes(self) -> bool:
        return "\r\nconnection: close" in self.head


def connect(port: int, seconds: float = 15.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def read(connection: socket.socket) -> Spoken:
    """One answer; what follows it stays unread only if it was not sent yet."""
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            if not (more := connection.recv(65536)):
                break
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        lower = head.decode("latin-1").lower()
        length = int(lower.partition("\r\ncontent-length: ")[2].partition("\r\n")[0] or 0)
        while len(body) < length and (more := connection.recv(65536)):
            body += more
    except ConnectionError:
        head, _, body = received.partition(b"\r\n\r\n")
        lower = head.decode("latin-1").lower()
    return Spoken(int(lower[9:12]) if lower.startswith("http/1.1 ") else 0, lower, body)


def say(port: int, *parts: bytes) -> Spoken:
    with connect(port) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except ConnectionError:
            pass  # It has answered already and hung up; what it said is still there to be read.
        return read(connection)


def post(path: str, body: bytes = b"", *, token: str | None = None, headers: dict[str, str] | None = None) -> bytes:
    """A request; `headers` replace Content-Length when they frame the body otherwise."""
    sent = {"Host": "localhost", **({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
    if not {"content-length", "transfer-encoding"} & {name.lower() for name in sent}:
        sent["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
