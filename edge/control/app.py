"""The control application: Starlette routing around plain functions, the same on both ports."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.control.routes import Access, Call, Reply, Resources, Route
from edge.http.body import check_declared_length, from_form, read_body, read_form
from edge.problems import Forbidden, HttpError, MethodNotAllowed, NoSuchPath, send_problem
from runtime.auth import Authenticator, Caller
from runtime.reading import InputInvalid, Violation, read
from scoring.event import parse_json

log = logging.getLogger("sira.edge.control.app")

Observe = Callable[[str, int], None]

# Threads reserved per local route, because a hung Postgres can exhaust the shared pool.
MAX_LOCAL_THREADS = 2
BODY_TIMEOUT_SECONDS = 5.0
UPLOAD_TIMEOUT_SECONDS = 300.0


def control_app(
    routes: Iterable[Route], resources: Resources, authenticator: Authenticator, observe: Observe
) -> Starlette:
    """Return the application of these routes. `observe(path template, status)` is called for every response."""
    paths: dict[str, dict[str, ASGIApp]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method] = _endpoint(route, resources, authenticator, observe)
    paths["/"] = {"GET": RedirectResponse("/docs", 308)}
    app = Starlette(routes=[_Path(path, methods, observe) for path, methods in paths.items()])
    app.router.default = _no_such_path
    app.router.redirect_slashes = False
    return app


def _endpoint(route: Route, resources: Resources, authenticator: Authenticator, observe: Observe) -> ASGIApp:
    threads = CapacityLimiter(MAX_LOCAL_THREADS) if route.local else None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            with ExitStack() as cleanup:
                call = await _read_in_time(request, route, resources, authenticator, cleanup)
                reply = await to_thread.run_sync(route.handle, call, limiter=threads)
        except psycopg.Error as error:
            log.error("postgres_failed", extra={"route": route.path, "sqlstate": error.sqlstate})
            observe(route.path, await send_problem(send, database_problem(error)))
            return
        except Exception as error:
            observe(route.path, await send_problem(send, error))
            return
        observe(route.path, reply.status)
        await _response(reply)(scope, receive, send)

    return app


def database_problem(error: psycopg.Error) -> HttpError:
    """Return the HTTP error for a failed statement or connection."""
    if isinstance(error, psycopg.DataError):
        return HttpError(422, "Postgres cannot hold one of these values")
    if isinstance(error, psycopg.IntegrityError):
        return HttpError(409, "someone else changed this at the same time: look again, then try again")
    return HttpError(503, "the registry's database cannot be reached")


class _Path(StarletteRoute):
    """All methods of one path, so that a 405 can list them."""

    def __init__(self, path: str, methods: Mapping[str, ASGIApp], observe: Observe) -> None:
        super().__init__(path, _placeholder, include_in_schema=False)
        self.methods = None  # accept every method here
        allowed = sorted({*methods, "HEAD"} if "GET" in methods else methods)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            if method in methods:
                await methods[method](scope, receive, send)
            else:
                observe(path, await send_problem(send, MethodNotAllowed(allowed)))

        self.app = app


def _placeholder(request: Request) -> Response:
    raise AssertionError("replaced by the route's own application")


async def _read_in_time(
    request: Request, route: Route, resources: Resources, authenticator: Authenticator, cleanup: ExitStack
) -> Call:
    seconds = UPLOAD_TIMEOUT_SECONDS if route.upload else BODY_TIMEOUT_SECONDS
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, route, resources, authenticator, cleanup)
    except TimeoutError:
        raise HttpError(408, f"no complete request within {seconds:g} s") from None


async def _read(
    request: Request, route: Route, resources: Resources, authenticator: Authenticator, cleanup: ExitStack
) -> Call:
    check_declared_length(request.scope["headers"], route.body_limit)
    caller = _identify(request, route, authenticator)
    _refuse_nul(*request.path_params.values())
    query = None if route.query is None else _query(route.query, request)
    body: Any = None
    files: dict[str, Path] = {}
    if route.takes is not None:
        if route.upload and request.headers.get("content-type", "").startswith("multipart/form-data"):
            texts, files = await read_form(request, cleanup)
            body = from_form(route.takes, texts)
        else:
            raw = await read_body(request.scope, request.receive, route.body_limit)
            sent = parse_json(raw) if raw.strip() else None
            body = read(route.takes, {} if sent is None and not route.body_required else sent)
    return Call(resources, caller, request.path_params, query, body, files.get("file"), files.get("reference"))


def _query(kind: type[msgspec.Struct], request: Request) -> Any:
    try:
        return read(kind, dict(request.query_params), strict=False)
    except InputInvalid as invalid:
        # A parameter is named, not pointed to.
        raise InputInvalid(Violation(v.pointer.removeprefix("/"), v.detail) for v in invalid.violations) from None


def _refuse_nul(*texts: str) -> None:
    """Raise if a part of the path has a NUL: Postgres cannot hold one."""
    if any("\0" in text for text in texts):
        raise HttpError(422, "no value may contain a NUL character")


def _identify(request: Request, route: Route, authenticator: Authenticator) -> Caller | None:
    authorization = request.headers.get("authorization")
    if route.access is Access.ANYONE or (authorization is None and route.access is Access.OPTIONAL):
        return None
    caller = authenticator.identify(authorization.encode("latin-1") if authorization else None)
    if not route.access.admits(caller):
        raise Forbidden(route.access.value)
    return caller


def _response(reply: Reply) -> Response:
    if reply.text is not None:
        return Response(reply.text, reply.status, media_type=reply.media_type)
    return Response(msgspec.json.encode(reply.content), reply.status, media_type=reply.media_type)


async def _no_such_path(scope: Scope, receive: Receive, send: Send) -> None:
    await send_problem(send, NoSuchPath())
