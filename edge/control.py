"""The control application: Starlette routing around plain functions, the same on both ports."""

import asyncio
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.http_body import check_declared_length, read_body
from edge.problems import Forbidden, HttpError, MethodNotAllowed, NoSuchPath, send_problem
from edge.routes import Access, Call, Reply, Resources, Route
from runtime.auth import Authenticator, Caller
from scoring.event import parse_json

log = logging.getLogger("sira.edge.control")

Observe = Callable[[str, int], None]

# Of each route that answers from this process's memory: a Postgres that hangs holds all the others.
LOCAL_THREADS = 2
BODY_SECONDS = 5.0
UPLOAD_SECONDS = 300.0
UPLOAD_PARTS = ("file", "reference")


def control_app(
    routes: Iterable[Route], resources: Resources, authenticator: Authenticator, observe: Observe
) -> Starlette:
    """`observe(path template, status)` is told of every answer."""
    paths: dict[str, dict[str, ASGIApp]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method] = _endpoint(route, resources, authenticator, observe)
    paths["/"] = {"GET": RedirectResponse("/docs", 308)}
    app = Starlette(routes=[_Path(path, methods, observe) for path, methods in paths.items()])
    app.router.default = _no_such_path
    app.router.redirect_slashes = False
    return app


def _endpoint(route: Route, resources: Resources, authenticator: Authenticator, observe: Observe) -> ASGIApp:
    threads = CapacityLimiter(LOCAL_THREADS) if route.local else None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            with ExitStack() as cleanup:
                call = await _read_in_time(request, route, resources, authenticator, cleanup)
                reply = await to_thread.run_sync(route.handle, call, limiter=threads)
        except psycopg.Error as error:
            log.error("postgres_failed", extra={"route": route.path, "sqlstate": error.sqlstate})
            observe(route.path, await send_problem(send, _said_by_postgres(error)))
            return
        except Exception as error:
            observe(route.path, await send_problem(send, error))
            return
        observe(route.path, reply.status)
        await _response(reply)(scope, receive, send)

    return app


def _said_by_postgres(error: psycopg.Error) -> HttpError:
    if isinstance(error, psycopg.DataError):
        return HttpError(422, "Postgres cannot hold one of these values")
    if isinstance(error, psycopg.IntegrityError):
        return HttpError(409, "someone else changed this at the same time: look again, then try again")
    return HttpError(503, "the registry's database cannot be reached")


class _Path(StarletteRoute):
    """All methods of one path, so that a caller with another method is told which there are."""

    def __init__(self, path: str, methods: Mapping[str, ASGIApp], observe: Observe) -> None:
        super().__init__(path, _placeholder, include_in_schema=False)
        self.methods = None  # Every method comes here.
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
    seconds = UPLOAD_SECONDS if route.upload else BODY_SECONDS
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
    query = dict(request.query_params)
    _refuse_nul(*request.path_params.values(), *query, *query.values())
    body: Any = None
    files: dict[str, Path] = {}
    if route.method == "POST":
        if route.upload and request.headers.get("content-type", "").startswith("multipart/form-data"):
            body, files = await _read_upload(request, cleanup)
            _refuse_nul(*body.values())
        else:
            raw = await read_body(request.scope, request.receive, route.body_limit)
            body = parse_json(raw) if raw.strip() else None
            if b"\\u0000" in raw:
                _refuse_nul("\0")
    return Call(resources, caller, request.path_params, query, body, files.get("file"), files.get("reference"))


def _refuse_nul(*texts: str) -> None:
    """Neither Postgres nor a path can hold a NUL."""
    if any("\0" in text for text in texts):
        raise HttpError(422, "no value may hold a NUL character")


def _identify(request: Request, route: Route, authenticator: Authenticator) -> Caller | None:
    authorization = request.headers.get("authorization")
    if route.access is Access.ANYONE or (authorization is None and route.access is Access.OPTIONAL):
        return None
    caller = authenticator.identify(authorization.encode("latin-1") if authorization else None)
    if not route.access.admits(caller):
        raise Forbidden(route.access.value)
    return caller


async def _read_upload(request: Request, cleanup: ExitStack) -> tuple[dict[str, Any], dict[str, Path]]:
    """The form's text fields, and its files by part name in temporary files that go when the call ends."""
    if not request.headers.get("content-length", "").isdigit():
        raise HttpError(422, "an upload needs a content-length")
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="sira-upload-")))
    fields: dict[str, Any] = {}
    files: dict[str, Path] = {}
    try:
        async with request.form(max_files=len(UPLOAD_PARTS), max_fields=32) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    if name not in UPLOAD_PARTS or name in files:
                        raise HttpError(422, f"a form may hold one part of each name: {', '.join(UPLOAD_PARTS)}")
                    # The suffix says what kind of rows a reference file holds; nothing else of its name is used.
                    path = files[name] = folder / f"{name}{Path(value.filename or '').suffix[:16]}"
                    with path.open("wb") as file:
                        while chunk := await value.read(1 << 20):
                            await to_thread.run_sync(file.write, chunk)
                else:
                    fields[name] = value
    except (HTTPException, ClientDisconnect):
        raise HttpError(400, "the form cannot be read to its end: send multipart/form-data") from None
    if "file" not in files:
        raise HttpError(422, "a form needs a part named file")
    return fields, files


def _response(reply: Reply) -> Response:
    if reply.text is not None:
        return Response(reply.text, reply.status, media_type=reply.media_type)
    return Response(msgspec.json.encode(reply.content), reply.status, media_type=reply.media_type)


async def _no_such_path(scope: Scope, receive: Receive, send: Send) -> None:
    await send_problem(send, NoSuchPath())
