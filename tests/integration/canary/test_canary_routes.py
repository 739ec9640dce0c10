"""The control routes of canaries and labels, over HTTP."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from edge import api
from edge.control.app import control_app
from edge.control.routes import Resources
from registry.artifacts import open_store
from registry.model_version import ModelVersion, Status
from runtime.auth import Authenticator, Role, mint_token
from runtime.postgres import Connection
from runtime.settings import Settings
from tests.support.asgi import Answered, request

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Behaviour, Canary

Ask = Callable[..., Answered]


@pytest.fixture
def ask(settings: Callable[..., Settings], database_url: str) -> Ask:
    """`ask("POST", "/v1/canary", {...}, role="viewer")`; role None sends no token, "service" the service token."""
    read = settings()
    resources = Resources(database_url, open_store(read.model_bucket))
    app = control_app(api.ROUTES, resources, Authenticator(read), lambda route, status: None)

    def send(method: str, path: str, body: object = None, role: str | None = "ml_ops") -> Answered:
        headers = {"authorization": f"Bearer {token(read, role)}"} if role else {}
        chunks = [b"" if body is None else json.dumps(body).encode()]
        return asyncio.run(request(app, method, path, chunks, headers))

    return send


def token(settings: Settings, role: str) -> str:
    if role == "service":
        return settings.internal_service_token.get_secret_value()
    secret, now = settings.jwt_secret.get_secret_value(), datetime.now(UTC)
    return mint_token(secret, subject="ops_ana", role=Role[role], now=now, lifetime=timedelta(hours=1))


def errors(answered: Answered) -> dict[str, str]:
    return {error["pointer"]: error["detail"] for error in answered.json()["errors"]}


def started(ask: Ask, canary: "Canary", percent: float = 10, **fields: object) -> dict[str, Any]:
    body = {"product": "fraud_score", "canary_percent": percent, "canary_model_id": canary.canary.model_id, **fields}
    answered = ask("POST", "/v1/canary", body)
    assert answered.status == 201, answered.body
    return dict(answered.json())


def test_a_product_without_a_canary_has_0_percent(ask: Ask, canary: "Canary") -> None:
    answered = ask("GET", "/v1/canary/fraud_score", role=None)
    assert (answered.status, answered.json()) == (
        200,
        {"product": "fraud_score", "canary_percent": 0, "state": "none"},
    )


def test_a_misspelt_product_is_not_reported_as_0_percent(ask: Ask, canary: "Canary") -> None:
    assert ask("GET", "/v1/canary/frod_score", role=None).status == 404
    assert ask("POST", "/v1/canary/frod_score/stop").status == 404
    assert ask("POST", "/v1/canary", {"product": "frod_score", "canary_percent": 1}).status == 404


def test_the_phases_of_the_runbook_from_configured_to_stopped(ask: Ask, canary: "Canary") -> None:
    configured = started(ask, canary, 0, production_model_id=canary.production.model_id)
    assert (configured["state"], configured["canary_percent"], configured["gate"]) == ("running", 0, "manual")
    assert canary.status_of(canary.canary) is Status.CANARY
    for phase, percent in enumerate((10, 25, 50, 100), start=1):
        changed = ask("POST", "/v1/canary", {"product": "fraud_score", "canary_percent": percent})
        assert (changed.status, changed.json()["phase"], changed.json()["step"]) == (200, phase, phase - 1)
        assert changed.json()["rollout_id"] == configured["rollout_id"]
    promote = f"/api/sira/models/{canary.canary.model_id}/promote"
    assert ask("POST", promote, {"target": "production"}).status == 200
    stopped = ask("POST", "/v1/canary/fraud_score/stop").json()
    assert (stopped["state"], stopped["canary_percent"]) == ("promoted", 0)
    assert ask("POST", f"/api/sira/models/{canary.production.model_id}/promote", {"target": "archived"}).status == 200
    assert canary.status_of(canary.canary) is Status.PRODUCTION


def test_the_same_percentage_again_changes_nothing(ask: Ask, canary: "Canary") -> None:
    started(ask, canary)
    again = ask("POST", "/v1/canary", {"product": "fraud_score", "canary_percent": 10})
    assert (again.status, again.json()["phase"]) == (200, 0)


def test_stop_is_safe_to_repeat_and_leaves_the_model_for_another_try(ask: Ask, canary: "Canary") -> None:
    assert ask("POST", "/v1/canary/fraud_score/stop").json()["state"] == "none"
    started(ask, canary)
    for _ in range(2):
        answered = ask("POST", "/v1/canary/fraud_score/stop", {"reason": "drill"})
        assert (answered.status, answered.json()["state"], answered.json()["canary_percent"]) == (200, "stopped", 0)
    assert canary.status_of(canary.canary) is Status.STAGING
    started(ask, canary)


def test_pause_resume_and_promote_answer_with_the_new_state(ask: Ask, canary: "Canary") -> None:
    for act in ("pause", "resume", "promote"):
        assert ask("POST", f"/v1/canary/fraud_score/{act}").status == 409
    started(ask, canary, plan={"steps": [{"percent": 10, "gate": "manual"}, {"percent": 50}]})
    assert ask("POST", "/v1/canary/fraud_score/pause").json()["state"] == "paused"
    assert ask("POST", "/v1/canary/fraud_score/pause").json()["state"] == "paused"
    assert ask("POST", "/v1/canary/fraud_score/resume").json()["state"] == "running"
    assert ask("POST", "/v1/canary/fraud_score/promote").json()["canary_percent"] == 50
    ended = ask("POST", "/v1/canary/fraud_score/promote", {"reason": "it has been long enough"}).json()
    assert (ended["state"], ended["canary_percent"]) == ("promoted", 0)
    assert canary.status_of(canary.canary) is Status.PRODUCTION


def test_each_role_may_see_and_do_what_is_listed(ask: Ask, canary: "Canary") -> None:
    started(ask, canary)
    for role in (None, "service"):
        seen = ask("GET", "/v1/canary/fraud_score", role=role).json()
        assert seen == {"product": "fraud_score", "canary_percent": 10, "state": "running"}
    for role in ("viewer", "auditor"):
        assert ask("GET", "/v1/canary/fraud_score", role=role).json()["limits"]["error_ratio"] == 1.5
        assert ask("GET", "/v1/canary/fraud_score/report", role=role).status == 200
    for role, status in ((None, 401), ("service", 403), ("auditor", 403)):
        assert ask("POST", "/v1/canary/fraud_score/stop", role=role).status == status
        assert ask("POST", "/v1/canary", {"product": "fraud_score", "canary_percent": 50}, role=role).status == status
    assert ask("GET", "/v1/canary/fraud_score/report", role=None).status == 401
    assert canary.now().canary_percent == 10


def test_every_wrong_field_has_its_pointer(ask: Ask, canary: "Canary") -> None:
    body = {"canary_percent": 101, "plan": {"steps": [{"percent": 5}, {}]}, "limits": {"psi": -1}, "canary_model_id": 3}
    answered = ask("POST", "/v1/canary", body)
    assert answered.status == 422
    assert errors(answered).keys() == {
        "/canary_percent", "/plan/steps/1/percent", "/limits/psi", "/canary_model_id", "/product",
    }  # fmt: skip


def test_a_request_that_conflicts_with_the_current_state_is_refused(
    ask: Ask, canary: "Canary", register: Callable[..., ModelVersion]
) -> None:
    stranger = register("1", product="other")
    body = {"product": "fraud_score", "canary_percent": 10}
    assert "/canary_model_id" in errors(ask("POST", "/v1/canary", body))
    assert "/canary_model_id" in errors(ask("POST", "/v1/canary", {**body, "canary_model_id": stranger.model_id}))
    serving = ask("POST", "/v1/canary", {**body, "canary_model_id": canary.production.model_id})
    assert (serving.status, "is production" in serving.json()["detail"]) == (409, True)
    stale = {**body, "canary_model_id": canary.canary.model_id, "production_model_id": canary.canary.model_id}
    assert ask("POST", "/v1/canary", stale).status == 409
    homeless = {"product": "other", "canary_percent": 10, "canary_model_id": stranger.model_id}
    assert ask("POST", "/v1/canary", homeless).status == 409
    started(ask, canary)
    third = register("3")
    assert ask("POST", "/v1/canary", {**body, "canary_model_id": third.model_id}).status == 409
    assert ask("POST", "/v1/canary", {**body, "plan": "default"}).status == 200
    assert ask("POST", "/v1/canary", {**body, "plan": {"steps": [{"percent": 10}]}}).status == 409
    assert ask("POST", "/v1/canary", {**body, "mode": "threshold"}).status == 409


def test_the_refusal_of_a_rolled_back_model_says_how_to_try_again(
    ask: Ask, canary: "Canary", behaviour: "type[Behaviour]"
) -> None:
    canary.start()
    canary.run(60, behaviour(errors=0.5))
    body = {"product": "fraud_score", "canary_percent": 10, "canary_model_id": canary.canary.model_id}
    refused = ask("POST", "/v1/canary", body)
    assert (refused.status, "promote it to staging first" in refused.json()["detail"]) == (409, True)
    assert ask("POST", f"/v1/models/{canary.canary.model_id}/promote", {"target": "staging"}).status == 200
    assert ask("POST", "/v1/canary", body).status == 201


def test_the_latest_verdict_shows_with_its_measurements_and_reasons(ask: Ask, canary: "Canary") -> None:
    canary.start()
    canary.run(60)
    verdict = ask("GET", "/v1/canary/fraud_score").json()["verdict"]
    assert (verdict["verdict"], verdict["action"]) == ("continue", "continue")
    assert verdict["reasons"]
    assert {"error_ratio", "p95_ratio", "block_ratio", "freshness"} <= {m["name"] for m in verdict["measurements"]}


def test_the_report_holds_what_was_counted_and_its_page_loads_nothing_from_outside(
    ask: Ask, canary: "Canary", connection: Connection, behaviour: "type[Behaviour]"
) -> None:
    assert ask("GET", "/v1/canary/fraud_score/report").status == 404
    rollout_id = canary.start().rollout_id
    connection.execute(
        "INSERT INTO sira_paired_predictions SELECT gen_random_uuid(), now()::date, now(), %s, 0, 'fraud_score',"
        " '<b>' || n, n * 100, 0.95, 'block', 0.1, 'allow' FROM generate_series(1, 3) AS n",
        (rollout_id,),
    )
    canary.run(300, behaviour(errors=0.003), behaviour(errors=0.003))
    canary.run(60, behaviour(errors=0.3), behaviour(errors=0.003))
    report = ask("GET", "/v1/canary/fraud_score/report", role="viewer").json()
    totals = {total["arm"]: total for total in report["totals"]}
    assert totals["production"]["requests"] == 9 * totals["canary"]["requests"] > 0
    assert report["rollout"]["state"] == "rolled_back"
    (flip,) = report["decisions"]["by_kind"]
    assert (flip["production_decision"], flip["canary_decision"], flip["events"], flip["amount"]) == (
        "allow", "block", 3, 600.0,
    )  # fmt: skip
    assert report["decisions"]["largest"][0]["amount"] == 300.0
    assert [run["action"] for run in report["verdicts"]][-1] == "rollback"
    assert report["rollbacks"][0]["rolled_back_by"] == "controller"
    assert len(report["course"]["times"]) == len(report["course"]["p95"]["canary"]) > 3

    page = ask("GET", "/v1/canary/fraud_score/report?format=html", role="viewer")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    text = page.body.decode()
    assert text.count("<svg") == 3
    assert "rolled back" in text.lower()
    assert "&lt;b&gt;3" in text
    assert "<b>" not in text
    assert not re.search(r"(src|href)=|url\(|@import|<script|https?://", text)


def test_the_report_has_no_other_format(ask: Ask, canary: "Canary") -> None:
    canary.start()
    answered = ask("GET", "/v1/canary/fraud_score/report?format=pdf&page=2")
    assert (answered.status, errors(answered).keys()) == (422, {"format", "page"})


def test_a_report_of_a_canary_without_evidence_says_so(ask: Ask, canary: "Canary") -> None:
    canary.start()
    assert ask("GET", "/v1/canary/fraud_score/report").json()["scores"]["psi"] is None
    assert "has not been judged yet" in ask("GET", "/v1/canary/fraud_score/report?format=html").body.decode()


def test_labels_are_accepted_from_services_and_ml_ops_repeatedly(ask: Ask, canary: "Canary") -> None:
    label = {
        "product": "fraud_score", "event_id": "e1", "label": "fraud", "source": "chargeback",
        "labelled_at": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    assert ask("POST", "/v1/labels", [label], role="service").json() == {"received": 1, "new": 1}
    assert ask("POST", "/v1/labels", [label, {**label, "event_id": "e2"}]).json() == {"received": 2, "new": 1}
    assert ask("POST", "/v1/labels", [label], role="auditor").status == 403
    refused = ask("POST", "/v1/labels", [label, {**label, "label": "perhaps", "labelled_at": "today"}])
    assert (refused.status, errors(refused).keys()) == (422, {"/1/label", "/1/labelled_at"})
    assert ask("POST", "/v1/labels", [{**label, "product": "frod_score"}]).status == 422
