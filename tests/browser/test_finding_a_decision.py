"""Find a blocked payment, read its reasons, and prove its score; a viewer sees no payload."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from lab.demo.running import StartedRun
from lab.waiting import wait_until
from runtime.auth import Role
from runtime.postgres import connect
from tests.support.accessibility import serious_faults

EVENT = "seen-in-the-browser"
# The demo's models block this one: a large amount, prepaid, from an unknown address.
PAYLOAD = {
    "amount": 1287448.18,
    "currency": "XOF",
    "country": "SN",
    "payment_method": "prepaid",
    "ip_country": "unknown",
    "merchant_category": "electronics",
}
Visitor = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def blocked(served: StartedRun) -> None:
    """A blocked event in the log."""
    event = {"event_id": EVENT, "product": "fraud_score", "payload": PAYLOAD, "routing_key": "card-seen"}
    answered = httpx.post(f"{served.url}/v1/infer", json=event, headers=served.bearer(), trust_env=False)
    assert answered.json()["decision"] == "block", answered.text
    with connect(served.environment["DATABASE_URL"], name="tests", autocommit=True) as connection:
        found = "SELECT 1 FROM sira_predictions WHERE event_id = %s"
        wait_until(lambda: connection.execute(found, (EVENT,)).fetchone() is not None, 15, "the row is shipped")


def find(person: Any) -> Any:
    page = person.open("/console/decisions")
    page.get_by_label("Event id").fill(EVENT)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=EVENT).click()
    expect(page.get_by_role("heading", name="Score", exact=True)).to_be_visible()
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_auditor_reads_why_a_payment_was_blocked_and_proves_its_score(visitor: Visitor, scheme: str) -> None:
    page = find(visitor(Role.auditor, color_scheme=scheme))
    reasons = page.locator("table.reasons tbody tr")
    expect(reasons.first).to_contain_text("amount")
    expect(reasons.first).to_contain_text("+")
    assert serious_faults(page) == []
    page.get_by_role("button", name="Recompute the score").click()
    expect(page.locator("#proof")).to_contain_text("the stored score to the last bit")


def test_a_viewer_sees_neither_payload_nor_reasons_nor_a_button(visitor: Visitor) -> None:
    page = find(visitor(Role.viewer))
    expect(page.get_by_text("need the role auditor")).to_be_visible()
    assert "1287448" not in page.content()
    assert page.locator("main button").count() == 0


def test_a_narrow_screen_does_not_scroll_sideways(visitor: Visitor) -> None:
    page = find(visitor(Role.auditor, viewport={"width": 360, "height": 800}))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_version_is_reached_from_its_decision_and_can_be_compared(visitor: Visitor) -> None:
    page = find(visitor(Role.ml_ops))
    page.get_by_role("link", name="gradient_boosting 1.0.0").click()
    expect(page.get_by_role("heading", name="gradient_boosting 1.0.0")).to_be_visible()
    assert serious_faults(page) == []
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Two versions")).to_be_visible()
    assert serious_faults(page) == []


def test_the_chain_of_the_audit_log_is_verified(visitor: Visitor) -> None:
    page = visitor(Role.viewer).open("/console/audit")
    page.get_by_role("button", name="Verify the chain").click()
    expect(page.get_by_text("Intact:")).to_be_visible()
