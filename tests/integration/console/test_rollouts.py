"""The pages of rollouts over a real database, and what their buttons do."""

from html import unescape
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from canary.report.report import paired_decisions, sealed_pairs
from canary.rollout import store as rollout_store
from canary.rollout.store import StoredRollout
from console.pages import Kept
from console.rollouts.course import MAX_POINTS, verdict_course
from registry.audit import Intact, history, verify
from registry.model_version import Status
from registry.store import get_version
from runtime.auth import Role
from runtime.postgres import Connection
from tests.support.counting import counted
from tests.support.rollouts import add_pairs, add_verdicts, add_version, start_rollout

# Stated in docs/console.md.
MAX_STATEMENTS = {"list": 4, "rollout": 12, "start": 4}


def text(answered: Any) -> str:
    return " ".join(unescape(answered.body.decode()).split())


def now(connection: Connection, rollout: StoredRollout) -> StoredRollout:
    found = rollout_store.find_rollout(connection, rollout.rollout_id)
    assert found is not None
    return found


def path(rollout: StoredRollout, *more: str) -> str:
    return "/".join(("/console/rollouts", rollout.rollout_id, *more))


def act(desk: Any, rollout: StoredRollout, action: str, role: Role = Role.ml_ops, **fields: str) -> Any:
    sent = {"reason": "the release is approved", "seen": f"{rollout.phase}-{rollout.status}", **fields}
    return desk.post(path(rollout, action), sent, role)


def test_without_a_rollout_the_list_says_so(desk: Any) -> None:
    assert "No rollout has been started yet" in text(desk.get("/console/rollouts"))


def test_the_list_names_each_rollout_with_its_step(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection)
    page = text(desk.get("/console/rollouts", Role.viewer))
    assert path(rollout) in page
    assert "gbm 2" in page
    assert "1 of 2" in page


def test_an_unknown_rollout_and_an_unknown_action_are_not_found(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection)
    for unknown in (f"/console/rollouts/{uuid4()}", "/console/rollouts/x", path(rollout, "explode")):
        assert desk.get(unknown).status == 404


def test_a_rollout_shows_its_steps_its_tiles_and_what_it_waits_for(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection)
    assert "It has not been judged yet" in text(desk.get(path(rollout)))
    add_verdicts(connection, rollout, 30)
    page = text(desk.get(path(rollout)))
    assert "It waits for more evidence: the reason." in page
    assert '1.10 × <span class="quiet">limit 1.50 ×</span>' in page
    assert "evidence 0.5 of 250 for a rollback" in page
    assert "no serving process has tripped its fuse" in page
    assert "then an operator" in page


def test_viewers_see_no_button_and_no_amount(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection)
    add_pairs(connection, rollout)
    seen = {role: text(desk.get(path(rollout), role)) for role in Role}
    assert [f"{path(rollout)}/stop" in seen[role] for role in Role] == [False, False, True]
    assert ["4,71" in seen[role] for role in Role] == [False, True, True]
    assert all("1 of 100 events" in page for page in seen.values())


@pytest.mark.parametrize("action", ["pause", "resume", "next", "promote", "stop"])
@pytest.mark.parametrize("role", [Role.viewer, Role.auditor])
def test_only_ml_ops_may_act(desk: Any, connection: Connection, action: str, role: Role) -> None:
    rollout = start_rollout(connection)
    assert desk.get(path(rollout, action), role).status == 403
    assert act(desk, rollout, action, role).status == 403
    assert now(connection, rollout) == rollout


@pytest.mark.parametrize(
    ("action", "status", "percent", "sentence", "entry"),
    [
        ("pause", "paused", 10, "The canary keeps 10 % of the keys", "canary.paused"),
        ("next", "running", 50, "The canary goes from 10 % to 50 % of the keys", "canary.advanced"),
        ("promote", "promoted", 0, "The canary becomes production", "canary.promoted"),
        ("stop", "stopped", 0, "production answers everything", "canary.stopped"),
    ],
)
def test_an_action_says_what_it_will_do_does_it_and_is_audited_by_name(
    desk: Any, connection: Connection, action: str, status: str, percent: float, sentence: str, entry: str
) -> None:
    rollout = start_rollout(connection)
    assert sentence in text(desk.get(path(rollout, action)))
    answered = act(desk, rollout, action)
    assert answered.status == 303
    assert answered.headers["location"].startswith(f"{path(rollout)}?notice=rollout_")
    assert (now(connection, rollout).status, now(connection, rollout).canary_percent) == (status, percent)
    row = next(row for row in history(connection, limit=5) if row.action == entry)
    assert (row.actor, row.reason, row.subject) == ("amina", "the release is approved", rollout.rollout_id)
    with connection.transaction():
        assert isinstance(verify(connection), Intact)


def test_promoting_swaps_the_versions(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection)
    act(desk, rollout, "promote")
    assert get_version(connection, rollout.canary_model_id).status is Status.PRODUCTION
    assert get_version(connection, rollout.production_model_id).status is Status.RETIRED


def test_the_last_step_offers_no_next_one_and_a_paused_rollout_can_be_resumed(
    desk: Any, connection: Connection
) -> None:
    rollout = start_rollout(connection)
    act(desk, rollout, "next")
    assert desk.get(path(rollout, "next")).status == 409
    act(desk, now(connection, rollout), "pause")
    assert desk.get(path(rollout, "pause")).status == 409
    act(desk, now(connection, rollout), "resume")
    assert now(connection, rollout).status == "running"


@pytest.mark.parametrize(
    ("reason", "fault"), [("", "write why"), ("   ", "write why"), ("x" * 5000, "the reason must")]
)
def test_an_action_needs_a_reason(desk: Any, connection: Connection, reason: str, fault: str) -> None:
    rollout = start_rollout(connection)
    answered = act(desk, rollout, "stop", reason=reason)
    assert answered.status == 422
    assert fault in text(answered)
    assert now(connection, rollout) == rollout


def test_an_action_on_a_rollout_that_has_changed_meanwhile_is_refused(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection, plan={"steps": [{"percent": 10}, {"percent": 20}, {"percent": 30}]})
    act(desk, rollout, "next")
    answered = act(desk, rollout, "next")
    assert answered.status == 409
    assert "has changed since you looked" in text(answered)
    assert now(connection, rollout).canary_percent == 20


def test_an_ended_rollout_allows_nothing(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection)
    act(desk, rollout, "stop")
    assert act(desk, rollout, "stop").status == 409
    assert path(rollout, "pause") not in text(desk.get(path(rollout)))


def form(canary: str, **fields: str) -> dict[str, str]:
    return {"canary": canary, "percent_0": "5", "hours_0": "0.5", "gate_0": "manual", "percent_1": "", **fields}


def test_the_form_shows_the_plan_before_it_starts(desk: Any, connection: Connection) -> None:
    add_version(connection, "cards", "1", Status.PRODUCTION)
    canary = add_version(connection, "cards", "2")
    fields = form(f"cards/{canary.model_id}")
    page = text(desk.get(f"/console/rollouts/start?{urlencode(fields)}"))
    assert "5 % of the keys (no traffic at present)" in page
    assert "30 min · then an operator" in page
    assert connection.execute("SELECT count(*) FROM sira_canary_config").fetchone() == (0,)
    answered = desk.post("/console/rollouts/start", {**fields, "reason": "try it"})
    assert answered.status == 303
    (rollout,) = rollout_store.all_rollouts(connection)
    assert (rollout.created_by, rollout.canary_percent, rollout.plan.steps[0].bake_seconds) == ("amina", 5, 1800)
    assert history(connection, subject=rollout.rollout_id)[0].reason == "try it"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"percent_0": "101"}, "/canary_percent"),
        ({"percent_0": "ten"}, "/plan/steps/0/percent"),
        ({"percent_1": "4"}, "every percent must be above the one before it"),
        ({"hours_0": "-1"}, "/plan/steps/0/bake_seconds"),
        ({"hours_0": "inf"}, "/plan/steps/0/bake_seconds"),
        ({"limits": "{"}, "is not JSON"),
        ({"limits": '{"error_ration": 2}'}, "/limits/error_ration"),
        ({"percent_0": ""}, "/plan/steps"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_starts(
    desk: Any, connection: Connection, fields: dict[str, str], fault: str
) -> None:
    add_version(connection, "cards", "1", Status.PRODUCTION)
    canary = add_version(connection, "cards", "2")
    sent = form(f"cards/{canary.model_id}", **fields)
    assert fault in text(desk.get(f"/console/rollouts/start?{urlencode(sent)}"))
    answered = desk.post("/console/rollouts/start", {**sent, "reason": "try it"})
    assert answered.status == 422
    assert fault in text(answered)
    assert rollout_store.all_rollouts(connection) == []


def test_a_start_without_a_reason_is_refused(desk: Any, connection: Connection) -> None:
    add_version(connection, "cards", "1", Status.PRODUCTION)
    canary = add_version(connection, "cards", "2")
    assert desk.post("/console/rollouts/start", form(f"cards/{canary.model_id}")).status == 422


def test_a_product_with_a_running_rollout_is_not_offered(desk: Any, connection: Connection) -> None:
    start_rollout(connection)
    add_version(connection, "cards", "3")
    add_version(connection, "unserved", "1")
    assert "Nothing can be rolled out" in text(desk.get("/console/rollouts/start"))


def test_pages_of_rollouts_cost_a_fixed_number_of_statements(desk: Any, connection: Connection) -> None:
    for number in range(8):
        rollout = start_rollout(connection, f"p{number}")
        add_verdicts(connection, rollout, 400)
        add_pairs(connection, rollout)
    paths = {"list": "/console/rollouts", "rollout": path(rollout), "start": "/console/rollouts/start"}
    for name, one in paths.items():
        with counted(desk.resources) as statements:
            assert desk.get(one).status == 200
        assert len(statements) <= MAX_STATEMENTS[name]


def test_a_long_history_is_drawn_from_a_bounded_sample_that_holds_the_newest(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection)
    add_verdicts(connection, rollout, 1000)
    course = verdict_course(connection, rollout.rollout_id, Kept().verdicts)
    newest = connection.execute("SELECT max(judged_at) FROM sira_canary_verdicts").fetchone()
    assert MAX_POINTS / 2 < len(course) <= MAX_POINTS
    assert (course[-1].judged_at,) == newest
    assert course == sorted(course, key=lambda moment: moment.judged_at)


def test_another_verdict_leaves_most_of_a_drawn_course_as_it_was(connection: Connection) -> None:
    rollout, kept = start_rollout(connection), Kept().verdicts
    add_verdicts(connection, rollout, 1000)
    before = verdict_course(connection, rollout.rollout_id, kept)
    add_verdicts(connection, rollout, 1, "hold")
    after = verdict_course(connection, rollout.rollout_id, kept)
    assert after[-1].verdict == "hold"
    assert len(set(map(id, after)) & set(map(id, before))) >= len(after) - 2


def test_a_verdict_is_read_once(connection: Connection) -> None:
    rollout, kept = start_rollout(connection), Kept().verdicts
    add_verdicts(connection, rollout, 3)
    before = verdict_course(connection, rollout.rollout_id, kept)
    connection.execute("UPDATE sira_canary_verdicts SET verdict = 'hold'")
    assert verdict_course(connection, rollout.rollout_id, kept) == before
    assert [moment.verdict for moment in verdict_course(connection, rollout.rollout_id, Kept().verdicts)] == [
        "hold"
    ] * 3


def test_sealed_pairs_are_read_once_and_open_ones_each_time(connection: Connection) -> None:
    rollout = start_rollout(connection)
    add_pairs(connection, rollout)
    sealed = sealed_pairs(connection, rollout)
    assert (sealed.events, paired_decisions(connection, rollout, sealed).events) == (0, 100)
    connection.execute("UPDATE sira_canary_config SET sealed_through = now() + interval '5 s'")
    rollout = now(connection, rollout)
    sealed = sealed_pairs(connection, rollout, sealed)
    assert (sealed.events, sealed.flips) == (100, 1)
    connection.execute("UPDATE sira_canary_paired_evidence SET n00 = 0, decision_flips = 0")
    assert sealed_pairs(connection, rollout, sealed) == sealed
    decisions = paired_decisions(connection, rollout, sealed)
    assert (decisions.events, decisions.flips) == (100, 1)
