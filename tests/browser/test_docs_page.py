"""/docs in a real browser: a request is tried with a token, and nothing leaves for another host."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.demo.running import MakeRun


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page()
    yield opened
    opened.close()


def test_an_event_is_scored_from_the_page(served: MakeRun, page: Page) -> None:
    hosts: set[str] = set()
    errors: list[str] = []
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{served.url}/docs")
    page.fill("#token", served.bearer()["Authorization"].removeprefix("Bearer "))
    operation = page.locator("#post_v1_infer")
    operation.locator("summary").click()
    operation.get_by_role("button", name="Send").click()
    shown = operation.locator("output")
    expect(shown).to_contain_text("200 OK")
    assert '"prediction_id"' in (shown.text_content() or "")
    assert errors == []
    assert hosts == {served.url.removeprefix("http://")}


def test_a_path_parameter_and_a_refusal_are_shown(served: MakeRun, page: Page) -> None:
    page.goto(f"{served.url}/docs")
    operation = page.locator("#get_v1_predictions_prediction_id")
    operation.locator("summary").click()
    operation.get_by_label("prediction_id").fill("a b")
    operation.get_by_role("button", name="Send").click()
    expect(operation.locator("output")).to_contain_text("401 Unauthorized")
