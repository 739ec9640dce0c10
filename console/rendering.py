"""Screens as HTML: the templates, and the headers that keep a page to itself."""

from pathlib import Path

import jinja2
from starlette.responses import Response

from console import static, words
from console.notices import NOTICES
from console.pages import Screen, Visit, path_to
from console.session import THEMES, theme_of
from edge.control.routes import Access
from runtime.build import running_build

# Nothing from another host, nothing inline, no page around ours. `same-origin` and not `no-referrer`: with that,
# browsers send `Origin: null` with our own forms.
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
SECTIONS = (
    ("overview", "Overview", path_to()),
    ("rollouts", "Rollouts", path_to("rollouts")),
    ("decisions", "Decisions", path_to("decisions")),
    ("models", "Models", path_to("models")),
    ("backtests", "Backtests", path_to("backtests")),
    ("health", "Health", path_to("health")),
    ("audit", "Audit", path_to("audit")),
)


def response(screen: Screen, visit: Visit) -> Response:
    """Return the page; its browser leaves it when the session ends."""
    html = _environment.get_template(screen.template).render(
        screen=screen,
        visit=visit,
        theme=theme_of(visit.headers),
        themes=THEMES,
        sections=SECTIONS,
        notice=NOTICES.get(visit.query.get("notice", "")),
        build=running_build(),
        **screen.values,
    )
    made = Response(html, screen.status, HEADERS, "text/html; charset=utf-8")
    for cookie in screen.cookies:
        made.headers.append("set-cookie", cookie)
    if visit.caller and visit.caller.expires_at:
        seconds = max(1, int((visit.caller.expires_at - visit.now).total_seconds()) + 1)
        made.headers["refresh"] = f"{seconds}; url={path_to('sign-in')}?notice=session_ended"
    return made


def _make_environment() -> jinja2.Environment:
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder / "templates", folder]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= words.FILTERS
    environment.globals |= {"path_to": path_to, "static": static.address, "Access": Access}
    return environment


_environment = _make_environment()
