"""Sign in, look, and leave, as a person does it in a browser."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from lab.demo.running import StartedRun
from runtime.auth import Role, mint_token

Visitor = Callable[..., Any]


def test_a_token_opens_the_overview_and_signing_out_closes_it(served: StartedRun, visitor: Visitor) -> None:
    person = visitor()
    person.sign_in(served.environment["VIEWER_TOKEN"])
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(person.page.get_by_role("heading", name="fraud_score", exact=True)).to_be_visible()
    person.page.get_by_text("dev-viewer").click()
    person.page.get_by_role("button", name="Sign out").click()
    expect(person.page.get_by_role("status")).to_contain_text("You are signed out")
    person.open("/console")
    expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_make_run_prints_a_link_for_each_role_and_each_works_once(served: StartedRun, visitor: Visitor) -> None:
    links = re.findall(r"^  (\w+) +(http://localhost:\d+/console/sign-in/\S+)$", served.printed(), re.MULTILINE)
    assert [role for role, _ in links] == ["ml_ops", "auditor", "viewer"]
    address = links[1][1].removeprefix(f"http://localhost:{served.control_port}")
    first, second = visitor(), visitor()
    first.open(address)
    expect(first.page.get_by_text("dev-auditor")).to_be_visible()
    second.open(address)
    expect(second.page.get_by_role("status")).to_contain_text("has been used")


def test_scripts_cannot_read_the_session(served: StartedRun, visitor: Visitor) -> None:
    person = visitor()
    person.sign_in(served.environment["VIEWER_TOKEN"])
    assert person.page.evaluate("document.cookie") == ""
    (cookie,) = person.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
        "sira_session",
        True,
        "Strict",
        "/console",
    )


def test_the_browser_leaves_the_page_when_the_session_ends(served: StartedRun, visitor: Visitor) -> None:
    token = mint_token(
        served.environment["JWT_SECRET"],
        subject="amina",
        role=Role.viewer,
        now=datetime.now(UTC),
        lifetime=timedelta(seconds=3),
    )
    person = visitor()
    person.sign_in(token)
    expect(person.page.get_by_role("status")).to_contain_text("Your session has ended", timeout=20_000)
    person.open("/console")
    expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_link_on_another_site_finds_the_session(visitor: Visitor) -> None:
    person = visitor(Role.viewer)
    person.page.goto(f"data:text/html,<a href='{person.url}/console'>alert</a>")
    person.trouble.clear()
    person.page.get_by_text("alert").click()
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_form_on_another_site_changes_nothing(visitor: Visitor) -> None:
    person = visitor(Role.viewer)
    form = f"<form method=post action='{person.url}/console/sign-out'><button>win</button></form>"
    person.page.goto(f"data:text/html,{form}")
    person.trouble.clear()
    person.page.get_by_text("win").click()
    expect(person.page.get_by_text("was not sent by a page of this console")).to_be_visible()
    person.trouble.clear()  # the browser reports the 403
    person.open("/console")
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.mark.parametrize("chosen", ["dark", "light"])
def test_the_switch_outlives_what_the_system_prefers(visitor: Visitor, chosen: str) -> None:
    person = visitor(Role.viewer, color_scheme="light" if chosen == "dark" else "dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = person.page.evaluate(ground)
    person.page.get_by_text("dev-viewer").click()
    person.page.get_by_role("button", name=chosen).click()
    person.page.wait_for_load_state()
    assert person.page.evaluate(ground) != before
    person.open("/console")
    assert person.page.evaluate(ground) != before


def test_it_reads_without_scripts(visitor: Visitor) -> None:
    person = visitor(Role.viewer, java_script_enabled=False)
    expect(person.page.get_by_role("heading", name="fraud_score", exact=True)).to_be_visible()


def test_a_page_that_cannot_be_renewed_keeps_its_figures_and_says_so(visitor: Visitor) -> None:
    person = visitor(Role.viewer)
    person.context.set_offline(True)
    expect(person.page.get_by_role("alert")).to_contain_text("could not be renewed", timeout=20_000)
    expect(person.page.get_by_role("heading", name="fraud_score", exact=True)).to_be_visible()
    person.context.set_offline(False)
    expect(person.page.get_by_role("alert")).to_be_hidden(timeout=20_000)
    person.trouble.clear()  # the browser reports that it was offline


def test_the_overview_renews_itself(visitor: Visitor) -> None:
    person = visitor(Role.viewer)
    with person.page.expect_response(f"{person.url}/console") as renewed:
        pass
    assert renewed.value.status == 200
    expect(person.page.get_by_role("heading", name="fraud_score", exact=True)).to_be_visible()
