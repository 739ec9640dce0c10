"""Request bodies of ASGI requests, read up to a limit."""

from collections.abc import Iterable

from starlette.types import Receive, Scope

from edge.problems import BodyTooLarge, HttpError

_Headers = Iterable[tuple[bytes, bytes]]

DEFAULT_LIMIT = 64 << 10


def header(headers: _Headers, name: bytes) -> bytes | None:
    """Return the first value of a header; `name` in lower case."""
    for key, value in headers:
        if key == name:
            return value
    return None


def check_declared_length(headers: _Headers, limit: int) -> None:
    """Raise BodyTooLarge if Content-Length is over `limit` bytes: nothing of the body needs to arrive for that."""
    declared = header(headers, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(limit)


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the whole body; raise BodyTooLarge before more than `limit` bytes and one chunk are held."""
    check_declared_length(scope["headers"], limit)
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpError(400, "the connection closed before the body was complete")
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(limit)
        more = message.get("more_body", False)
    return body
