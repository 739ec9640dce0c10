"""Signing in and out, and what a page admits."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest

from console.routes import ROUTES
from console.sign_in import links
from console.sign_in.links import SignInLink
from edge.control.routes import Access
from runtime.auth import Role
from runtime.postgres import Connection, connect
from tests.conftest import SERVICE_TOKEN

PRIVATE = [route for route in ROUTES if route.access is not Access.ANYONE]


def cookie_of(answered: Any) -> str:
    return SimpleCookie(answered.headers["set-cookie"])["sira_session"].value


def test_the_root_leads_to_the_console_and_the_api_stays_where_it_was(desk: Any) -> None:
    assert (desk.get("/").status, desk.get("/").headers["location"]) == (303, "/console")
    assert desk.get("/healthz", role=None).json()["ok"] is True
    assert desk.get("/docs", role=None).status == 200


def test_a_token_signs_in_and_the_page_that_was_asked_for_follows(desk: Any) -> None:
    token = desk.token(Role.viewer)
    answered = desk.post("/console/sign-in", {"token": f"  Bearer {token}\n", "next": "/console?x=1"}, role=None)
    assert (answered.status, answered.headers["location"]) == (303, "/console?x=1&notice=signed_in")
    assert cookie_of(answered) == token
    assert {"HttpOnly", "SameSite=Strict", "Path=/console"} <= set(answered.headers["set-cookie"].split("; "))


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "no token"),
        ("nonsense", "not valid"),
        (SERVICE_TOKEN, "service token"),
        ("é" * 40, "not valid"),
        ("x" * 5000, "no token"),
    ],
)
def test_what_is_not_a_persons_token_is_refused_with_the_reason(desk: Any, token: str, reason: str) -> None:
    answered = desk.post("/console/sign-in", {"token": token}, role=None)
    assert answered.status == 401
    assert reason in answered.body.decode()
    assert "set-cookie" not in answered.headers


def test_an_expired_token_opens_nothing(desk: Any) -> None:
    expired = desk.token(lifetime=timedelta(seconds=-1))
    assert "has expired" in desk.post("/console/sign-in", {"token": expired}, role=None).body.decode()
    answered = desk.get("/console", role=None, cookie=f"sira_session={expired}")
    assert answered.status == 303
    assert answered.headers["location"] == "/console/sign-in?next=%2Fconsole&notice=session_ended"


def test_a_page_says_when_its_session_ends(desk: Any) -> None:
    seconds, _, url = desk.get("/console").headers["refresh"].partition("; url=")
    assert 3590 <= int(seconds) <= 3601
    assert url == "/console/sign-in?notice=session_ended"


def test_a_script_whose_session_has_ended_is_sent_to_the_sign_in_page(desk: Any) -> None:
    answered = desk.get("/console", role=None, **{"hx-request": "true"})
    assert (answered.status, answered.headers["hx-redirect"]) == (401, "/console/sign-in?next=%2Fconsole")


def test_a_proxy_may_send_the_token_instead_of_a_cookie(desk: Any) -> None:
    assert desk.get("/console", role=None, authorization=f"Bearer {desk.token(Role.viewer)}").status == 200
    assert desk.get("/console", role=None, authorization=f"Bearer {SERVICE_TOKEN}").status == 303


def test_a_link_from_another_site_is_asked_for_again_by_a_page_of_ours(desk: Any) -> None:
    answered = desk.get("/console", role=None, **{"sec-fetch-site": "cross-site"})
    assert (answered.status, answered.headers["refresh"]) == (200, "0; url=/console")
    assert '<a href="/console">Continue</a>' in answered.body.decode()


def test_the_api_reads_no_cookie(desk: Any) -> None:
    assert desk.get("/v1/models").status == 401


@pytest.mark.parametrize("route", PRIVATE, ids=lambda route: f"{route.method} {route.path}")
def test_no_page_opens_without_a_session(desk: Any, route: Any) -> None:
    path = route.path.replace("{", "").replace("}", "")
    answered = desk.get(path, role=None) if route.method == "GET" else desk.post(path, {}, role=None)
    assert answered.status == 303
    assert answered.headers["location"].startswith("/console/sign-in?")


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method == "POST"], ids=lambda route: route.path)
@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
def test_no_form_of_another_site_is_taken(desk: Any, route: Any, headers: dict[str, str]) -> None:
    path = route.path.replace("{", "").replace("}", "")
    answered = desk.post(path, {"token": desk.token()}, **headers)
    assert answered.status == 403
    assert "set-cookie" not in answered.headers


def test_every_page_carries_the_strict_policy(desk: Any) -> None:
    for path in ("/console", "/console/sign-in", "/console/nothing"):
        policy = desk.get(path, role=None if path.endswith("in") else Role.viewer).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "http" not in policy


def test_signing_out_deletes_the_cookie(desk: Any) -> None:
    answered = desk.post("/console/sign-out", {})
    assert answered.headers["location"] == "/console/sign-in?notice=signed_out"
    assert "Max-Age=0" in answered.headers["set-cookie"]


def test_unknown_paths_and_methods_are_pages_too(desk: Any) -> None:
    assert desk.get("/console/nothing").status == 404
    assert desk.get("/console/static/nothing.css").status == 404
    refused = desk.post("/console", {})
    assert (refused.status, refused.headers["allow"]) == (405, "GET")
    assert desk.get("/console?a=%00").status == 422
    assert desk.get("/console?a=%ff").status == 400
    assert desk.observed[-1] == ("/console", 400)


def test_a_link_signs_in_once(desk: Any, connection: Connection) -> None:
    code = links.issue(connection, SignInLink("dev-viewer", Role.viewer))
    answered = desk.get(f"/console/sign-in/{code}", role=None)
    assert answered.headers["location"] == "/console?notice=signed_in"
    page = desk.get("/console", role=None, cookie=f"sira_session={cookie_of(answered)}").body.decode()
    assert "dev-viewer" in page
    again = desk.get(f"/console/sign-in/{code}", role=None)
    assert again.headers["location"] == "/console/sign-in?notice=link_used"
    assert "set-cookie" not in again.headers


def test_of_many_who_follow_a_link_at_once_one_gets_in(database_url: str, connection: Connection) -> None:
    code = links.issue(connection, SignInLink("dev-viewer", Role.viewer))

    def redeem(_: int) -> SignInLink | None:
        with connect(database_url, name="tests") as own:
            return links.redeem(own, code)

    with ThreadPoolExecutor(8) as pool:
        got = [link for link in pool.map(redeem, range(8)) if link]
    assert got == [SignInLink("dev-viewer", Role.viewer)]


def test_a_link_that_has_expired_is_refused(connection: Connection) -> None:
    code = links.issue(connection, SignInLink("dev-viewer", Role.viewer), lifetime=timedelta(seconds=-1))
    assert links.redeem(connection, code) is None


def test_the_table_of_links_signs_nobody_in(connection: Connection) -> None:
    code = links.issue(connection, SignInLink("dev-viewer", Role.viewer))
    (stored,) = connection.execute("SELECT code_sha256 FROM sira_console_links").fetchone() or ()
    assert code not in stored
    assert links.redeem(connection, stored) is None


@pytest.mark.parametrize("host", ["console.example.com", "192.168.0.7:3000"])
def test_a_link_works_under_a_name_of_this_machine_only(desk: Any, connection: Connection, host: str) -> None:
    code = links.issue(connection, SignInLink("dev-viewer", Role.viewer))
    answered = desk.get(f"/console/sign-in/{code}", role=None, host=host)
    assert (answered.status, "set-cookie" in answered.headers) == (403, False)
    assert links.redeem(connection, code) is not None


def test_before_its_migration_a_link_is_refused_and_a_token_still_works(desk: Any, connection: Connection) -> None:
    connection.execute("DROP TABLE sira_console_links")
    assert desk.get("/console/sign-in/code", role=None).headers["location"].endswith("link_used")
    assert desk.post("/console/sign-in", {"token": desk.token()}, role=None).status == 303


def test_the_choice_of_colours_is_kept(desk: Any) -> None:
    answered = desk.post("/console/theme", {"theme": "dark", "next": "/console/sign-in"}, role=None)
    assert answered.headers["location"] == "/console/sign-in"
    page = desk.get("/console/sign-in", role=None, cookie="sira_theme=dark").body.decode()
    assert '<html lang="en" data-theme="dark">' in page


def test_a_page_names_its_files_with_their_digests_and_they_are_public(desk: Any) -> None:
    page = desk.get("/console/sign-in", role=None).body.decode()
    addresses = re.findall(r'"(/console/static/[^"]+)"', page)
    assert len(set(addresses)) == 4
    for address in addresses:
        answered = desk.get(address, role=None)
        assert answered.status == 200
        assert f"v={hashlib.sha256(answered.body).hexdigest()[:12]}" in address
        assert "immutable" in answered.headers["cache-control"]
