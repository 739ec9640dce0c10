"""Sign in with a token or a one-time link, sign out, and choose the colours."""

from datetime import timedelta

from console.pages import Elsewhere, PageRoute, Screen, Visit, path_to
from console.session import (
    THEMES,
    Theme,
    is_loopback,
    no_session_cookie,
    person,
    safe_path,
    session_cookie,
    theme_cookie,
)
from console.sign_in import links
from edge.control.routes import Access
from edge.problems import HttpError
from runtime.auth import TokenRefused

# How long a session that began with a link lasts.
SESSION_LIFETIME = timedelta(hours=12)
MAX_TOKEN_CHARACTERS = 4096
PATH = path_to("sign-in")


def show(visit: Visit) -> Screen | Elsewhere:
    following = safe_path(visit.query.get("next"))
    if visit.caller is not None:
        return Elsewhere(following)
    return _form(following, cookie_lost=visit.query.get("notice") == "signed_in" or "notice=signed_in" in following)


def sign_in(visit: Visit) -> Screen | Elsewhere:
    following = safe_path(visit.form.get("next"))
    token = "".join(visit.form.get("token", "").split()).removeprefix("Bearer")
    try:
        if not token or len(token) > MAX_TOKEN_CHARACTERS:
            raise TokenRefused("no token")
        caller = person(f"Bearer {token}", visit.console.authenticator)
    except TokenRefused as refused:
        return _form(following, fault=str(refused).partition(";")[0], status=401)
    assert caller.expires_at is not None
    return Elsewhere(following, "signed_in", (session_cookie(token, caller.expires_at, visit.now, visit.headers),))


def follow_link(visit: Visit) -> Elsewhere:
    """Redeem a link for a session. Only from this machine, under a name of this machine."""
    if not is_loopback(visit.peer) or not is_loopback(visit.headers.get("host", "")):
        raise HttpError(403, "a sign-in link works on the machine that printed it only: sign in with a token")
    with visit.console.resources.connect() as connection:
        link = links.redeem(connection, visit.path["code"]) if links.links_exist(connection) else None
    if link is None:
        return Elsewhere(PATH, "link_used")
    token = visit.console.authenticator.mint(
        subject=link.subject, role=link.role, now=visit.now, lifetime=SESSION_LIFETIME
    )
    cookie = session_cookie(token, visit.now + SESSION_LIFETIME, visit.now, visit.headers)
    return Elsewhere(path_to(), "signed_in", (cookie,))


def sign_out(visit: Visit) -> Elsewhere:
    return Elsewhere(PATH, "signed_out", (no_session_cookie(visit.headers),))


def choose_theme(visit: Visit) -> Elsewhere:
    chosen: Theme = next((theme for theme in THEMES if theme == visit.form.get("theme")), "system")
    return Elsewhere(safe_path(visit.form.get("next")), cookies=(theme_cookie(chosen, visit.headers),))


def _form(following: str, *, fault: str | None = None, cookie_lost: bool = False, status: int = 200) -> Screen:
    values = {"next": following, "fault": fault, "cookie_lost": cookie_lost}
    return Screen("sign_in/page.html.j2", "Sign in", values=values, status=status)


ROUTES = (
    PageRoute("GET", PATH, Access.ANYONE, show),
    PageRoute("POST", PATH, Access.ANYONE, sign_in),
    PageRoute("GET", f"{PATH}/{{code}}", Access.ANYONE, follow_link, repeatable=False),
    PageRoute("POST", path_to("sign-out"), Access.ANYONE, sign_out),
    PageRoute("POST", path_to("theme"), Access.ANYONE, choose_theme),
)
