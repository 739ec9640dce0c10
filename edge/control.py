"""The control application: Starlette routing around plain functions, the same on both ports."""

import logging
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.infer import read_body, send_problem
from edge.problems import BodyTooLarge, Forbidden, HttpError
from edge.routes import Access, Call, Reply, Resources, Route
from runtime.auth import Authenticator, Caller
from scoring.event import parse_json

log = logging.getLogger("sira.edge.control")

Observe = Callable[[str, int], None]


def control_app(
    routes: Iterable[Route], resources: Resources, authenticator: Authenticator, observe: Observe
) -> Starlette:
    """`observe(path template, status)` is told of every answer."""
    endpoints = [_endpoint(route, resources, authenticator, observe) for route in routes]
    app = Starlette(routes=endpoints)
    app.add_exception_handler(404, _no_such_path)
    app.add_exception_handler(405, _no_such_method)
    app.router.redirect_slashes = False
    return app


def _endpoint(route: Route, resources: Resources, authenticator: Authenticator, observe: Observe) -> StarletteRoute:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            with ExitStack() as cleanup:
                call = await _read(request, route, resources, authenticator, cleanup)
                reply = await run_in_threadpool(route.handle, call)
        except psycopg.Error as error:
            log.error("postgres_failed", extra={"route": route.path, "sqlstate": error.sqlstate})
            observe(route.path, await send_problem(send, HttpError(503, "the registry's database cannot be reached")))
            return
        except Exception as error:
            observe(route.path, await send_problem(send, error))
            return
        observe(route.path, reply.status)
        await _response(reply)(scope, receive, send)

    return _MethodRoute(route.path, app, methods=[route.method])


class _MethodRoute(StarletteRoute):
    """A route whose endpoint is an ASGI function rather than a Request handler."""

    def __init__(self, path: str, app: ASGIApp, methods: list[str]) -> None:
        super().__init__(path, _placeholder, methods=methods, include_in_schema=False)
        self.app = app


def _placeholder(request: Request) -> Response:
    raise AssertionError("replaced by the route's own application")


async def _read(
    request: Request, route: Route, resources: Resources, authenticator: Authenticator, cleanup: ExitStack
) -> Call:
    caller = _identify(request, route, authenticator)
    body, upload = None, None
    if route.method == "POST":
        if route.upload and request.headers.get("content-type", "").startswith("multipart/form-data"):
            body, upload = await _read_upload(request, route, cleanup)
        else:
            raw = await read_body(request.scope, request.receive, route.body_limit)
            body = parse_json(raw) if raw.strip() else None
    return Call(resources, caller, request.path_params, dict(request.query_params), body, upload)


def _identify(request: Request, route: Route, authenticator: Authenticator) -> Caller | None:
    authorization = request.headers.get("authorization")
    if authorization is None and route.access is Access.ANYONE:
        return None
    caller = authenticator.identify(authorization.encode("latin-1") if authorization else None)
    if not route.access.admits(caller):
        raise Forbidden(route.access.value)
    return caller


async def _read_upload(request: Request, route: Route, cleanup: ExitStack) -> tuple[dict[str, Any], Path]:
    """The form's text fields, and its `file` part in a temporary file that goes when the call ends."""
    declared = request.headers.get("content-length", "")
    if not declared.isdigit():
        raise HttpError(422, "an upload needs a content-length")
    if int(declared) > route.body_limit:
        raise BodyTooLarge(route.body_limit)
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="sira-upload-")))
    fields: dict[str, Any] = {}
    path = None
    async with request.form(max_files=1, max_fields=32) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                path = folder / "upload.onnx"
                with path.open("wb") as file:
                    while chunk := await value.read(1 << 20):
                        await run_in_threadpool(file.write, chunk)
            else:
                fields[name] = value
    if path is None:
        raise HttpError(422, "a form needs a part named file")
    return fields, path


def _response(reply: Reply) -> Response:
    if reply.text is not None:
        return Response(reply.text, reply.status, media_type=reply.media_type)
    return Response(msgspec.json.encode(reply.content), reply.status, media_type=reply.media_type)


async def _no_such_path(request: Request, error: Exception) -> Response:
    return await _problem_response(HttpError(404, "no such path: see /docs"))


async def _no_such_method(request: Request, error: Exception) -> Response:
    return await _problem_response(HttpError(405, "no such method on this path: see /docs"))


async def _problem_response(error: HttpError) -> Response:
    response = Response()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            response.status_code = message["status"]
            response.raw_headers = list(message["headers"])
        else:
            response.body = message["body"]

    await send_problem(send, error)
    return response
