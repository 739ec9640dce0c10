"""The page of production's health over a real database."""

from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

from console.health.page import ALARMS
from monitoring import profile_store
from monitoring.breaker.store import breakers
from monitoring.cohorts.counter import CohortCounter
from monitoring.control_group.store import control_groups
from monitoring.profile import FieldBaseline, FieldCounts
from registry.audit import history
from registry.model_version import Status
from runtime.auth import Role
from runtime.postgres import Connection
from tests.support.counting import counted
from tests.support.log_rows import prediction, ship_rows
from tests.support.rollouts import add_version

# Stated in docs/console.md.
MAX_STATEMENTS = 15


def text(answered: Any) -> str:
    return " ".join(unescape(answered.body.decode()).split())


def add_profile(connection: Connection, missing: int) -> str:
    version = add_version(connection, "cards", "1", Status.PRODUCTION)
    usual = FieldBaseline("number", (10.0, 50.0), 0.0, 100.0, counts=FieldCounts(events=1000, bins={"1": 1000}))
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    now = FieldCounts(events=1000, absent=missing, bins={"1": 1000 - missing})
    with connection.transaction():
        profile_store.insert_baseline(connection, version.model_id, "reference", {"amount": usual})
        profile_store.add_counts(connection, "cards", version.model_id, hour, {"amount": now})
    return version.model_id


def test_without_models_and_without_production_the_page_says_so(desk: Any, connection: Connection) -> None:
    assert "No model is registered yet" in text(desk.get("/console/health"))
    add_version(connection, "cards", "1")
    assert "cards has no version in production" in text(desk.get("/console/health"))
    assert desk.get("/console/health/nothing").status == 404


def test_a_field_as_usual_is_not_marked(desk: Any, connection: Connection) -> None:
    add_profile(connection, 0)
    page = text(desk.get("/console/health/cards", Role.viewer))
    assert "<code>amount</code>" in page
    assert "as usual" in page
    assert 'class="wrong"' not in page


def test_a_field_that_is_missing_is_marked_and_leads_to_what_to_do(desk: Any, connection: Connection) -> None:
    add_profile(connection, 400)
    page = text(desk.get("/console/health"))
    assert 'class="wrong"' in page
    assert "40.00 %" in page
    assert "missing far more often than usual" in page


def test_a_jump_of_the_block_share_is_said(desk: Any, connection: Connection) -> None:
    add_version(connection, "cards", "1", Status.PRODUCTION)
    assert "has not looked at this product yet" in text(desk.get("/console/health"))
    connection.execute(
        "INSERT INTO sira_production_guard (product, counted_at, totals, wealth, firing, ready)"
        " VALUES ('cards', now(), '{}', '{}', '{\"block\": true}', true)"
    )
    assert "Production blocks far more" in text(desk.get("/console/health"))


def test_the_breaker_is_set_with_a_reason_and_audited_by_name(desk: Any, connection: Connection) -> None:
    add_version(connection, "cards", "1", Status.PRODUCTION)
    assert "The breaker is off." in text(desk.get("/console/health/cards"))
    fields = {"enabled": "on", "max_block_percent": "7.5", "reason": "a new campaign"}
    path = "/console/health/cards/breaker"
    assert desk.post(path, {**fields, "reason": " "}).status == 422
    assert desk.post(path, {**fields, "max_block_percent": "many"}).status == 422
    assert desk.post(path, fields, Role.auditor).status == 403
    assert desk.get("/console/health/nothing/breaker").status == 404
    assert "review instead of block" in text(desk.get(path))
    assert breakers(connection) == ()
    assert desk.post(path, fields).headers["location"] == "/console/health/cards?notice=breaker_set"
    assert "above 7.50 % blocked" in text(desk.get("/console/health/cards", Role.viewer))
    row = history(connection, limit=1)[0]
    assert (row.actor, row.reason) == ("amina", "a new campaign")
    assert row.action.startswith("breaker.")
    assert "a new campaign" in text(desk.get("/console/audit?action=breaker."))


def test_the_control_group_is_set_with_a_reason_and_shown_with_its_count_of_today(
    desk: Any, connection: Connection
) -> None:
    add_version(connection, "cards", "1", Status.PRODUCTION)
    assert "The control group is off." in text(desk.get("/console/health/cards"))
    path = "/console/health/cards/control-group"
    fields = {"enabled": "on", "share_percent": "1", "answer": "allow", "max_per_day": "30", "reason": "measure"}
    assert "max amount: is missing" in text(desk.post(path, fields))
    assert desk.post(path, {**fields, "max_amount": "much"}).status == 422
    assert desk.post(path, {**fields, "max_amount": "50", "share_percent": "6"}).status == 422
    assert desk.post(path, {**fields, "max_amount": "50", "reason": " "}).status == 422
    assert desk.post(path, {**fields, "max_amount": "50"}, Role.auditor).status == 403
    assert desk.get("/console/health/nothing/control-group").status == 404
    assert control_groups(connection) == ()
    assert desk.post(path, {**fields, "max_amount": "50"}).headers["location"].endswith("notice=control_group_set")
    connection.execute("INSERT INTO sira_control_days VALUES ('cards', (now() AT TIME ZONE 'UTC')::date, 90, 80, 2)")
    page = text(desk.get("/console/health/cards", Role.viewer))
    assert "1.00 % of blocks are answered allow, at most 30 per day, each with amount up to 50" in page
    assert "Today 2 of 90 passed; 10 could not." in page
    row = history(connection, limit=1)[0]
    assert (row.actor, row.action, row.reason) == ("amina", "control_group.set", "measure")
    assert desk.post(path, {"reason": "done"}).status == 303
    assert "The control group is off." in text(desk.get("/console/health/cards"))


def test_every_alarm_leads_to_a_section_that_exists() -> None:
    operations = (Path(__file__).parents[3] / "docs/operations.md").read_text().lower()
    for _, address in ALARMS.values():
        assert f"### {address.partition('#')[2]}\n" in operations


def test_the_page_costs_a_fixed_number_of_statements(desk: Any, connection: Connection) -> None:
    add_profile(connection, 0)
    for number in range(20):
        add_version(connection, f"p{number}", "1", Status.PRODUCTION)
    with counted(desk.resources) as statements:
        assert desk.get("/console/health/cards").status == 200
    assert len(statements) <= MAX_STATEMENTS


def test_before_a_week_is_counted_the_page_says_when_it_will_be(desk: Any, connection: Connection) -> None:
    add_version(connection, "cards", "1", Status.PRODUCTION)
    assert "No week of this product has been counted yet" in text(desk.get("/console/health/cards"))


def test_a_matured_week_is_shown_with_what_was_caught_and_what_was_estimated(
    desk: Any, connection: Connection, database_url: str
) -> None:
    version = add_version(connection, "cards", "1", Status.PRODUCTION)
    old = datetime.now(UTC) - timedelta(days=40)
    connection.execute("SELECT sira_make_partitions(%s::date, %s::date)", (old, old))
    scores = {
        "caught": (0.95, "block", "fraud"),
        "missed": (0.2, "allow", "fraud"),
        "wrong": (0.92, "block", "legitimate"),
    }
    ship_rows(
        database_url,
        [
            prediction(event, model_id=version.model_id, score=score, decision=decision, created_at=old.timestamp())
            for event, (score, decision, _) in scores.items()
        ],
    )
    for event, (_, _, label) in scores.items():
        connection.execute(
            "INSERT INTO sira_labels (product, event_id, label, source, labelled_at)"
            " VALUES ('cards', %s, %s, 'review', %s)",
            (event, label, old + timedelta(days=5)),
        )
    assert CohortCounter().look(connection)
    page = desk.get("/console/health/cards", Role.viewer).body.decode()
    assert "matured" in page
    assert page.count(">50.0 %") >= 4  # precision and recall at both thresholds
    assert "raw scores" in page
    assert 'aria-label="Reliability diagram: share of fraud over score, 2 bins"' in page
    assert '<th scope="row">7 days</th><td class="n">100.0 %</td>' in page
    assert '<th scope="row">3 days</th><td class="n">0.0 %</td>' in page
