"""The console's ASGI application, in front of the control API: one page per route, each in a thread."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from anyio import to_thread
from markupsafe import Markup
from starlette.datastructures import Headers as AllHeaders
from starlette.responses import RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from console import rendering, session, static
from console.pages import Console, Elsewhere, PageRoute, Screen, Visit
from console.routes import ROUTES
from console.session import Headers, safe_path, who
from edge.control.app import BODY_TIMEOUT_SECONDS, Observe, database_problem
from edge.http.body import read_body
from edge.problems import Forbidden, HttpError, MethodNotAllowed, NoSuchPath, document

log = logging.getLogger("sira.console")

MAX_FORM_BYTES = 64 << 10
MAX_FORM_FIELDS = 64
SIGN_IN = f"{session.ROOT}/sign-in"
_CONTINUE = Markup(
    '<!doctype html><html lang="en"><head><title>SIRA console</title><link rel="icon" href="{}"></head>'
    '<body><a href="{}">Continue</a></body></html>'
)
_COMPILED = [(compile_path(route.path)[0], route) for route in ROUTES]


class ConsoleApp:
    """Answers `/` and everything below /console; passes every other path on to `inner`.

    `observe(path template, status)` is called for every response of a page.
    """

    def __init__(self, console: Console, inner: ASGIApp, observe: Observe) -> None:
        self._console = console
        self._inner = inner
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if path == "/" and scope["method"] in ("GET", "HEAD"):
            await RedirectResponse(session.ROOT, 303)(scope, receive, send)
        elif path == session.ROOT or path.startswith(session.ROOT + "/"):
            await self._page(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if found := static.response(path, scope["method"]):
            await found(scope, receive, send)
            return
        headers = _headers(scope)
        visit = Visit(
            self._console,
            who(headers, self._console.authenticator),
            datetime.now(UTC),
            (scope.get("client") or ("",))[0],
            headers,
            here=_here(scope),
        )
        template = "/console"
        try:
            route, parameters = _route(path, scope["method"])
            template = route.path
            visit = replace(visit, path=parameters, query=_fields(scope["query_string"]))
            response = await self._answer(route, visit, scope, receive)
        except Exception as error:
            response = self._refusal(error, visit, template)
        self._observe(template, response.status_code)
        await response(scope, receive, send)

    async def _answer(self, route: PageRoute, visit: Visit, scope: Scope, receive: Receive) -> Response:
        if route.method == "POST":
            if not session.from_own_page(visit.headers):
                raise HttpError(403, "the form was not sent by a page of this console: open the page and try again")
            visit = replace(visit, form=await _form(scope, receive))
        if not route.access.admits(visit.caller):
            if visit.caller is not None:
                raise Forbidden(route.access.value)
            return _to_sign_in(visit, scope["method"])
        shown = await to_thread.run_sync(route.handle, visit)
        return _redirect(shown) if isinstance(shown, Elsewhere) else rendering.response(shown, visit)

    def _refusal(self, error: Exception, visit: Visit, route: str) -> Response:
        if isinstance(error, psycopg.Error):
            log.error("postgres_failed", extra={"route": route, "sqlstate": error.sqlstate})
            error = database_problem(error)
        problem = document(error)
        screen = Screen("problem.html.j2", problem.title, values={"problem": problem}, status=problem.status)
        response = rendering.response(screen, visit)
        if isinstance(error, MethodNotAllowed):
            response.headers["allow"] = ", ".join(error.allowed)
        return response


def _route(path: str, method: str) -> tuple[PageRoute, Mapping[str, str]]:
    wanted = "GET" if method == "HEAD" else method
    allowed = []
    for pattern, route in _COMPILED:
        if found := pattern.match(path):
            if route.method == wanted and (method != "HEAD" or route.repeatable):
                return route, found.groupdict()
            allowed.append(route.method)
    raise MethodNotAllowed(sorted(allowed)) if allowed else NoSuchPath()


def _headers(scope: Scope) -> Headers:
    """Return the first value of each header."""
    return dict(reversed(AllHeaders(scope=scope).items()))


def _fields(encoded: bytes) -> dict[str, str]:
    """Return form or query fields; of a repeated one the last counts."""
    try:
        text = encoded.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise HttpError(400, "the fields cannot be read: send application/x-www-form-urlencoded in UTF-8") from None
    if any("\0" in text for pair in pairs for text in pair):
        raise HttpError(422, "no value may contain a NUL character")
    return dict(pairs)


async def _form(scope: Scope, receive: Receive) -> dict[str, str]:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            return _fields(await read_body(scope, receive, MAX_FORM_BYTES))
    except TimeoutError:
        raise HttpError(408, f"no complete request within {BODY_TIMEOUT_SECONDS:g} s") from None


def _redirect(to: Elsewhere) -> Response:
    response = RedirectResponse(to.location, 303)
    for cookie in to.cookies:
        response.headers.append("set-cookie", cookie)
    response.headers["cache-control"] = "no-store"
    return response


def _here(scope: Scope) -> str:
    """Return the path with its query, as a browser writes it."""
    query = scope["query_string"].decode("latin-1")
    return quote(scope["path"]) + (f"?{query}" if query else "")


def _to_sign_in(visit: Visit, method: str) -> Response:
    """Send an unknown visitor to the sign-in page, and from there back to the page that was asked for."""
    wanted = session.ROOT if method == "POST" else safe_path(visit.here)
    ended = session.SESSION_COOKIE in session.cookies(visit.headers)
    notice = {"notice": "session_ended"} if ended else {}
    location = f"{SIGN_IN}?{urlencode({'next': wanted, **notice})}"
    if method != "POST" and visit.headers.get("sec-fetch-site") == "cross-site":
        # A link on another site comes without the Strict cookie. Asked for again by a page of ours, it comes with it.
        headers = {**rendering.HEADERS, "refresh": f"0; url={wanted}"}
        return Response(_CONTINUE.format(static.address("mark.svg"), wanted), 200, headers, "text/html; charset=utf-8")
    if "hx-request" in visit.headers:
        # A script asked for a part of a page: let it load the sign-in page as a whole.
        return Response(status_code=401, headers={"hx-redirect": location, "cache-control": "no-store"})
    return _redirect(Elsewhere(location))
