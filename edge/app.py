"""The HTTP edge of a serving process: the hot routes directly, control routes by Starlette, the rest to BentoML."""

import logging
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge import api, infer_bodies
from edge.control.app import control_app
from edge.http.body import header
from edge.http.protocol import STATE_KEY
from edge.http.server import SIBLINGS_KEY, Siblings
from edge.open_inference import bodies
from edge.open_inference.endpoint import PREFIX as OPEN_INFERENCE
from edge.problems import HttpError, MethodNotAllowed, NoSuchPath, send_problem
from edge.serving import READY_SECONDS, Serving
from runtime.logs import configure_logs
from runtime.settings import Settings

log = logging.getLogger("sira.edge.app")

CONTROL_PREFIXES = ("/v1", "/api/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")


class Edge:
    """An ASGI application in front of another. `start` and `stop` belong in the server's start-up and shut-down."""

    def __init__(self) -> None:
        self._inner: ASGIApp | None = None
        self._serving: Serving | None = None
        self._control: ASGIApp | None = None
        self._drain_seconds = 0.0
        # The lifespan's state: a connection's protocol finds the endpoint there.
        self._state: MutableMapping[str, Any] | None = None

    def in_front_of(self, inner: ASGIApp) -> "Edge":
        self._inner = inner
        return self

    async def start(self, settings: Settings) -> None:
        """Return once it can score, or after READY_SECONDS; no connection is accepted before."""
        configure_logs()
        serving = Serving(settings)
        serving.start()
        await serving.until_ready(READY_SECONDS)
        routes = api.control_routes(
            serving.not_ready_because, serving.faults, documented=(*infer_bodies.ROUTES, *bodies.ROUTES)
        )
        self._control = control_app(routes, serving.resources, serving.authenticator, serving.counters.response)
        self._drain_seconds = settings.drain_seconds
        self._serving = serving
        if self._state is not None:
            self._state[STATE_KEY] = serving.infer
            self._state[SIBLINGS_KEY] = Siblings(settings.spool_dir)

    async def stop(self) -> None:
        if self._serving:
            await self._serving.stop(drain_seconds=self._drain_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serving = self._serving
        if scope["type"] == "lifespan":
            self._state = scope.get("state")
        if scope["type"] == "http" and serving:
            path = scope["path"]
            if path == "/v1/infer" or path == "/v1/infer/batch":
                if scope["method"] != "POST":
                    await send_problem(send, MethodNotAllowed(["POST"]))
                elif path == "/v1/infer":
                    await serving.infer.infer(scope, receive, send)
                else:
                    await serving.infer.batch(scope, receive, send)
                return
            if path == OPEN_INFERENCE or path.startswith(OPEN_INFERENCE + "/"):
                await serving.open_inference(scope, receive, send)
                return
            if (path == "/" or path.startswith(CONTROL_PREFIXES)) and self._control:
                await self._control(scope, receive, send)
                return
        if self._inner is None:
            await send_problem(send, NoSuchPath())
        elif scope["type"] == "http":
            await _with_problems(self._inner, scope, receive, send)
        else:
            await self._inner(scope, receive, send)


async def _with_problems(inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """BentoML's own routes, with problem documents in place of its plain text errors."""
    refused = False

    async def answer(message: Message) -> None:
        nonlocal refused
        if message["type"] == "http.response.start" and message["status"] >= 400:
            refused = True
            await send_problem(send, _refusal(message["status"], message.get("headers", ())))
        elif not refused:
            await send(message)

    await inner(scope, receive, answer)


def _refusal(status: int, headers: Iterable[tuple[bytes, bytes]]) -> HttpError:
    if status == 404:
        return NoSuchPath()
    if status == 405:
        return MethodNotAllowed((header(headers, b"allow") or b"GET").decode("latin-1").split(", "))
    return HttpError(status, "this path cannot be served as asked: see /docs")
