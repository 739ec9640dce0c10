"""Start a rollout, watch it advance under traffic, and see a bad one being rolled back."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from lab.demo.running import StartedRun
from lab.load.callers import Callers
from registry.artifacts import open_store
from registry.model_version import Status
from registry.registration import Declaration, register
from registry.store import change_status
from runtime.auth import Role
from runtime.postgres import connect
from tests.support.accessibility import serious_faults
from tests.support.table_model import table_model

SCORES = [n / 200 for n in range(100)]
PAYLOADS = [{"amount": 2 + n % 97 + n * 1e-5} for n in range(20_000)]
LIMITS = '{"critical_alerts": "ignore", "error_rate_negligible": 0.02, "paired_samples": 200}'
Serve = Callable[[str, bytes], None]
MILLISECONDS = 90_000.0


@pytest.fixture
def serve(served: StartedRun, tmp_path: Path) -> Iterator[Serve]:
    """`serve("cards", canary)`: a product in production under traffic, and a canary in staging."""
    with ExitStack() as running:
        connection = running.enter_context(connect(served.environment["DATABASE_URL"], name="tests", autocommit=True))
        artifacts = open_store(served.environment["MODEL_BUCKET"])

        def start(product: str, canary: bytes) -> None:
            ids = []
            for name, content in (("production", table_model(SCORES)), ("canary", canary)):
                (tmp_path / name).write_bytes(content)
                made = register(connection, artifacts, tmp_path / name, Declaration(product, name, "1"), actor="tests")
                ids.append(made.version.model_id)
            with connection.transaction():
                change_status(connection, ids[0], Status.PRODUCTION, actor="tests")
            time.sleep(2)  # until both workers have loaded it
            token = served.environment["INTERNAL_SERVICE_TOKEN"]
            running.enter_context(Callers(served.port, token, product, PAYLOADS, 100, prefix=product))

        yield start


def start_in(person: Any, product: str, *steps: tuple[str, str]) -> None:
    """Fill the form, look at the plan, and start; steps are shares and hours."""
    page = person.open("/console/rollouts")
    page.get_by_role("link", name="Start a rollout").click()
    page.get_by_label("Version").select_option(label=next(
        text for text in page.locator("#canary option").all_inner_texts() if text.startswith(f"{product}:")
    ))  # fmt: skip
    for place in range(6):
        share, hours = steps[place] if place < len(steps) else ("", "")
        page.get_by_label(f"Share of step {place + 1} in percent").fill(share)
        page.get_by_label(f"Bake time of step {place + 1} in hours").fill(hours)
    page.get_by_text("Judging").click()
    page.get_by_label("Limits that differ").fill(LIMITS)
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("heading", name="The plan, before it starts")).to_be_visible()
    assert serious_faults(page) == []
    page.get_by_label("Reason").fill("a better model")
    page.get_by_role("button", name="Start the rollout").click()
    expect(page.get_by_role("status")).to_contain_text("has started")


def test_a_person_starts_a_rollout_watches_it_advance_and_stops_it(visitor: Callable[..., Any], serve: Serve) -> None:
    serve("seen_good", table_model([score + 0.001 for score in SCORES]))
    person = visitor(Role.ml_ops)
    start_in(person, "seen_good", ("10", "0.002"), ("50", "1"))
    page = person.page
    # Nobody touches the page: it renews itself.
    expect(page.get_by_text("50 % to the canary")).to_be_visible(timeout=MILLISECONDS)
    expect(page.get_by_role("heading", name="Measurements")).to_be_visible()
    assert serious_faults(page) == []
    page.get_by_role("link", name="Stop").click()
    what = re.compile(r"The canary loses its 50 % of the keys, about [\d.]+ of [\d.]+ requests/s")
    expect(page.get_by_text(what)).to_be_visible()
    page.get_by_label("Reason").fill("seen enough")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_contain_text("Production answers everything")


def test_a_failing_canary_is_seen_to_be_rolled_back(visitor: Callable[..., Any], serve: Serve) -> None:
    serve("seen_bad", table_model(SCORES[:2]))
    person = visitor(Role.ml_ops)
    start_in(person, "seen_bad", ("10", "1"))
    expect(person.page.get_by_text("This rollout has ended: the canary was rolled back.")).to_be_visible(
        timeout=MILLISECONDS
    )
    expect(person.page.get_by_text("stopped routing to it").first).to_be_visible()
    person.open("/console")
    expect(person.page.get_by_role("listitem").filter(has_text="seen_bad")).to_contain_text("SiraCanaryRolledBack")
