"""The session cookie and the origin of a request. Pure.

The cookie carries the same JWT as the API's Authorization header, on the console's own paths only: the API never reads
a cookie, so no other page can use one there.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from typing import Literal
from urllib.parse import urlsplit

from runtime.auth import Authenticator, Caller, TokenRefused

ROOT = "/console"
SESSION_COOKIE = "sira_session"
THEME_COOKIE = "sira_theme"
# Where oauth2-proxy and others put the token of the person whom they have signed in. It is verified like any other.
ACCESS_TOKEN_HEADER = "x-forwarded-access-token"
THEME_SECONDS = 365 * 24 * 3600

Theme = Literal["system", "light", "dark"]
THEMES: tuple[Theme, ...] = ("system", "light", "dark")

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Headers = Mapping[str, str]
"""Header values by lower-case name."""


def who(headers: Headers, authenticator: Authenticator) -> Caller | None:
    """Return the person whom a header or the session cookie names; None for anyone else.

    A proxy that signs people in sends one of the headers, and renews its token: such a session does not end on its own.
    A product's service token opens no page.
    """
    forwarded = headers.get(ACCESS_TOKEN_HEADER)
    proxied = (headers.get("authorization"), forwarded and f"Bearer {forwarded}")
    for authorization in filter(None, proxied):
        if caller := _person_or_none(authorization, authenticator):
            return replace(caller, expires_at=None)
    token = cookies(headers).get(SESSION_COOKIE)
    return _person_or_none(f"Bearer {token}", authenticator) if token else None


def _person_or_none(authorization: str, authenticator: Authenticator) -> Caller | None:
    try:
        return person(authorization, authenticator)
    except TokenRefused:
        return None


def person(authorization: str, authenticator: Authenticator) -> Caller:
    """Return the person that an Authorization header names. Raises TokenRefused."""
    caller = authenticator.identify(authorization.encode("latin-1", "replace"))
    if caller.role is None:
        raise TokenRefused("a service token does not name a person")
    return caller


def cookies(headers: Headers) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def theme_of(headers: Headers) -> Theme:
    chosen = cookies(headers).get(THEME_COOKIE)
    return next((theme for theme in THEMES if theme == chosen), "system")


def session_cookie(token: str, expires_at: datetime, now: datetime, headers: Headers) -> str:
    """Return the Set-Cookie value of a session that ends with its token."""
    return _cookie(SESSION_COOKIE, token, max(0, int((expires_at - now).total_seconds())), headers)


def no_session_cookie(headers: Headers) -> str:
    """Return the Set-Cookie value that ends a session."""
    return _cookie(SESSION_COOKIE, "", 0, headers)


def theme_cookie(theme: Theme, headers: Headers) -> str:
    return _cookie(THEME_COOKIE, theme, THEME_SECONDS, headers)


def _cookie(name: str, value: str, seconds: int, headers: Headers) -> str:
    # Not every browser keeps a Secure cookie over plain HTTP from its own machine; there, nobody can listen either.
    secure = "" if is_loopback(headers.get("host", "")) else " Secure;"
    return f"{name}={value}; Path={ROOT}; Max-Age={seconds}; HttpOnly;{secure} SameSite=Strict"


def is_loopback(host: str) -> bool:
    """Return whether a Host header, or the address of a peer, names this machine."""
    if host == "::1":
        return True
    try:
        return urlsplit(f"//{host}").hostname in _LOOPBACK
    except ValueError:
        return False


def from_own_page(headers: Headers) -> bool:
    """Return whether one of our own pages sent the request; every browser says so with a POST.

    Sec-Fetch-Site is missing over plain HTTP from another machine, Origin in no POST of a browser.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site is not None
    return origin.partition("://")[2] == headers.get("host")


def safe_path(path: str | None) -> str:
    """Return a path of the console to continue at, whatever a link says."""
    inside = path is not None and (path == ROOT or path.startswith((ROOT + "/", ROOT + "?")))
    return path if path is not None and inside and path.isprintable() and "\\" not in path else ROOT
