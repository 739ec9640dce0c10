"""The session cookie and the origin of a request, from headers alone."""

from datetime import UTC, datetime, timedelta

import pytest

from console.session import (
    cookies,
    from_own_page,
    is_loopback,
    no_session_cookie,
    safe_path,
    session_cookie,
    theme_of,
)

NOW = datetime(2026, 11, 27, 4, tzinfo=UTC)
OWN = {"host": "console.example.com"}


def test_a_session_cookie_is_closed_to_scripts_other_sites_and_plain_http() -> None:
    assert session_cookie("t", NOW + timedelta(minutes=2), NOW, OWN) == (
        "sira_session=t; Path=/console; Max-Age=120; HttpOnly; Secure; SameSite=Strict"
    )


@pytest.mark.parametrize("host", ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "LOCALHOST"])
def test_on_the_own_machine_the_cookie_also_works_over_plain_http(host: str) -> None:
    assert "Secure" not in session_cookie("t", NOW, NOW, {"host": host})


@pytest.mark.parametrize(
    "host", ["", "localhost.example.com", "10.0.0.1", "127.0.0.1.example.com", "[::1", "a@localhost.b"]
)
def test_any_other_host_gets_a_secure_cookie(host: str) -> None:
    assert not is_loopback(host)
    assert "Secure" in session_cookie("t", NOW, NOW, {"host": host})


def test_a_session_that_has_ended_leaves_no_cookie() -> None:
    assert "Max-Age=0" in no_session_cookie(OWN)
    assert "Max-Age=0" in session_cookie("t", NOW - timedelta(hours=1), NOW, OWN)


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"sec-fetch-site": "same-origin", "origin": "https://console.example.com"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://console.example.com"}, True),
        ({"origin": "http://console.example.com"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://console.example.com.evil.example"}, False),
        ({"origin": "https://console.example.com:8443"}, False),
        ({"sec-fetch-site": "same-site", "origin": "https://console.example.com"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://console.example.com"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "https://evil.example"}, False),
    ],
)
def test_only_our_own_pages_may_send_a_form(headers: dict[str, str], own: bool) -> None:
    assert from_own_page({**OWN, **headers}) is own


def test_without_a_host_header_no_origin_is_ours() -> None:
    assert not from_own_page({"origin": "https://"})


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "/",
        "//evil.example",
        "https://evil.example",
        "/consolation",
        "/console\\..\\x",
        "/console/\r\nx",
        "/v1",
    ],
)
def test_a_link_cannot_send_a_person_to_another_place(path: str | None) -> None:
    assert safe_path(path) == "/console"


@pytest.mark.parametrize("path", ["/console", "/console/models", "/console?a=b", "/console/decisions?key=x"])
def test_a_page_of_the_console_is_continued_at(path: str) -> None:
    assert safe_path(path) == path


@pytest.mark.parametrize(
    ("header", "theme"),
    [("", "system"), ("sira_theme=dark", "dark"), ("sira_theme=light", "light"), ("sira_theme=pink", "system")],
)
def test_the_colours_follow_the_cookie_if_it_names_a_choice(header: str, theme: str) -> None:
    assert theme_of({"cookie": header}) == theme


def test_an_unreadable_cookie_header_is_no_session() -> None:
    assert "sira_session" not in cookies({"cookie": 'a="\x00;;=;sira_session'})
