"""A small HTTP proxy on loopback that signs people in, as oauth2-proxy does in front of a service."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import ClientSession, web

# What a proxy must not let callers say themselves.
REMOVED = ("authorization", "x-forwarded-access-token")

TokenOf = Callable[[str], str | None]


@contextmanager
def signing_in_proxy(behind: str, header: str, token_of: TokenOf) -> Iterator[str]:
    """Yield the URL of a proxy for the service at `behind`; `token_of` returns the token of its session cookie.

    It removes the headers above from what it receives, and sends the token in `header`.
    """
    loop, ready = asyncio.new_event_loop(), threading.Event()
    ports: list[int] = []
    clients: list[ClientSession] = []

    async def forward(request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in REMOVED}
        if token := token_of(request.cookies.get("proxy_session", "")):
            headers[header] = f"Bearer {token}" if header.lower() == "authorization" else token
        body = await request.read()
        async with clients[0].request(
            request.method, behind + request.path_qs, headers=headers, data=body, allow_redirects=False
        ) as answer:
            passed = {name: value for name, value in answer.headers.items() if name.lower() != "transfer-encoding"}
            return web.Response(status=answer.status, headers=passed, body=await answer.read())

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        clients.append(ClientSession(auto_decompress=False))
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.append(runner.addresses[0][1])
        ready.set()
        await stopped.wait()
        await clients[0].close()
        await runner.cleanup()

    stopped = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield f"http://127.0.0.1:{ports[0]}"
    loop.call_soon_threadsafe(stopped.set)
    thread.join()
