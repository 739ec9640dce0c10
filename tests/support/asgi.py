"""One request to an ASGI application, byte by byte as a test wants it: what a socket would make hard to time."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NEVER = object()
"""In place of a chunk: the caller says nothing more, and keeps the connection."""
GONE = object()
"""In place of a chunk: the caller hangs up."""


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def request(
    app: Any, method: str, target: str, chunks: Sequence[Any] = (b"",), headers: dict[str, str] | None = None
) -> Answered:
    """`chunks` of the body come one at a time; the last ends it."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 50_000),
    }
    coming, sent = list(chunks), []

    async def receive() -> dict[str, Any]:
        chunk = coming.pop(0) if coming else NEVER
        if chunk is NEVER:
            await asyncio.Event().wait()
        if chunk is GONE:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(coming)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await asyncio.create_task(app(scope, receive, send))
    start, *rest = sent
    return Answered(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in rest),
    )
