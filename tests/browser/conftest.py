"""A real Chromium in front of the product that the whole run shares."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from lab.demo.running import StartedRun
from runtime.auth import Role

CHROMIUM = shutil.which("chromium")


@dataclass
class Person:
    """Someone with a browser. `trouble` names what no page may cause: console errors, requests to another host."""

    context: BrowserContext
    page: Page
    url: str
    trouble: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, token: str) -> None:
        self.open("/console/sign-in")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{self.url}/console?notice=signed_in")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, per module: Playwright keeps an event loop running in this thread, where other tests run their own."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        # Without its sandbox, because tests may run as root, where it cannot start.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visitor(browser: Browser, served: StartedRun) -> Iterator[Callable[..., Person]]:
    """`visitor(Role.viewer, color_scheme="dark")`: a person with a session, or without one for None.

    The test fails if a page of theirs logs an error or asks another host.
    """
    with visitors(browser, served) as arrive:
        yield arrive


@contextmanager
def visitors(browser: Browser, served: StartedRun) -> Iterator[Callable[..., Person]]:
    """Yield what `visitor` does, for as long as the block lasts."""
    people: list[Person] = []

    def arrive(role: Role | None = None, **options: Any) -> Person:
        url = f"http://localhost:{served.control_port}"
        context = browser.new_context(**options)
        person = Person(context, context.new_page(), url)
        person.page.set_default_timeout(15_000)
        watch(person)
        people.append(person)
        if role is not None:
            # As a sign-in sets it; tests/browser/test_signing_in.py goes through the form.
            token = served.environment[f"{role.name.upper()}_TOKEN"]
            session = {"name": "sira_session", "value": token, "domain": "localhost", "path": "/console"}
            context.add_cookies([{**session, "httpOnly": True, "sameSite": "Strict"}])
            person.open("/console")
        return person

    yield arrive
    for person in people:
        person.context.close()
        assert person.trouble == []


def watch(person: Person) -> None:
    page, trouble = person.page, person.trouble
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith(person.url + "/") else trouble.append(one.url))
