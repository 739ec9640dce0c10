"""The reasons of a logged prediction over HTTP: against Shapley's definition, and the same on every call."""

import json
from collections.abc import Callable

import pytest

from registry.model_session import ModelSession
from registry.model_version import ModelVersion
from registry.reason_codes import ReasonCode
from runtime import metrics
from runtime.postgres import Connection
from scoring.reasons.background import Background
from tests.integration.scoring.reasons.conftest import Ask, Log
from tests.support.brute_force import log_odds, shapley
from tests.support.log_rows import new_id, prediction, ship_rows
from tests.support.trained_models import Trained


def test_the_reasons_are_the_shapley_values_of_the_payloads_fields(
    add_version: Callable[..., ModelVersion], log: Log, ask: Ask, trained: Trained, connection: Connection
) -> None:
    version = add_version(reference=True)
    (row,) = log(version, 1)
    given = ask(row.prediction_id).json()
    content, source = connection.execute(
        "SELECT payloads, source FROM sira_reasons_backgrounds JOIN sira_model_backgrounds USING (sha256)"
    ).fetchone()  # type: ignore[misc]
    background = Background.of(map(json.loads, content.split("\n")), source)
    assert given["background"] == {"sha256": background.sha256, "rows": 128, "source": "reference"}
    session = ModelSession(version.signature, trained.model.SerializeToString())
    event = session.feed.row(json.loads(row.payload))
    base, values = shapley(lambda rows: log_odds(session.score(rows)), event, background.rows(version.signature))
    assert (given["method"], given["scale"]) == ("exact", "log_odds")
    assert given["base"]["log_odds"] == pytest.approx(base, abs=1e-4)
    expected = dict(zip((field.name for field in version.signature.fields), values, strict=True))
    assert {field["field"]: field["log_odds"] for field in given["fields"]} == pytest.approx(expected, abs=1e-4)


def test_both_scales_add_up_and_the_largest_impact_comes_first(
    add_version: Callable[..., ModelVersion], log: Log, ask: Ask
) -> None:
    (row,) = log(add_version(reference=True), 1)
    given = ask(row.prediction_id).json()
    fields, base = given["fields"], given["base"]
    assert row.score is not None
    assert base["probability"] + sum(field["probability"] for field in fields) == pytest.approx(row.score, abs=1e-5)
    sizes = [abs(field["log_odds"]) for field in fields]
    assert sizes == sorted(sizes, reverse=True)
    assert [field["rank"] for field in fields] == [1, 2, 3, 4]
    directions = {1: "raises", 0: "none", -1: "lowers"}
    assert all(field["direction"] == directions[(field["log_odds"] > 0) - (field["log_odds"] < 0)] for field in fields)


def test_a_reason_has_the_code_that_the_version_declares_for_it(
    add_version: Callable[..., ModelVersion], log: Log, ask: Ask
) -> None:
    codes = (
        ReasonCode("attempts", "R07", "more attempts than usual", "raises"),
        ReasonCode("attempts", "R08", "fewer attempts than usual", "lowers"),
    )
    for row in log(add_version(reference=True, reason_codes=codes), 5):
        for field in ask(row.prediction_id).json()["fields"]:
            code = {"raises": "R07", "lowers": "R08"}.get(field["direction"])
            assert field.get("code") == (code if field["field"] == "attempts" else None)
            assert ("sentence" in field) == ("code" in field)


def test_every_process_answers_the_same_bytes(
    add_version: Callable[..., ModelVersion], log: Log, ask: Ask, connection: Connection
) -> None:
    version = add_version()
    first, *_ = log(version, 250)
    answered = ask(first.prediction_id)
    assert answered.json()["background"]["source"] == "production"
    log(version, 50, first=250)
    assert ask(first.prediction_id).body == answered.body
    assert ask(first.prediction_id, rows=64).body == answered.body
    assert connection.execute("SELECT count(*) FROM sira_model_backgrounds").fetchone() == (1,)


def test_the_background_holds_only_what_production_allowed(
    add_version: Callable[..., ModelVersion], log: Log, ask: Ask, connection: Connection
) -> None:
    rows = log(add_version(), 300)
    assert ask(rows[0].prediction_id, rows=100).status == 200
    allowed = {row.payload for row in rows if row.decision == "allow"}
    (content,) = connection.execute("SELECT payloads FROM sira_reasons_backgrounds").fetchone()  # type: ignore[misc]
    assert len(content.split("\n")) == 100
    assert set(content.split("\n")) <= allowed < {row.payload for row in rows}


def test_without_a_background_the_answer_says_where_one_comes_from(
    add_version: Callable[..., ModelVersion], log: Log, ask: Ask
) -> None:
    (row,) = log(add_version(), 1)
    answered = ask(row.prediction_id)
    assert answered.status == 409
    assert "reference rows, or from 128 events that production allowed" in answered.json()["detail"]


def test_a_prediction_that_is_unknown_and_one_without_a_score_have_no_reasons(
    add_version: Callable[..., ModelVersion], ask: Ask, database_url: str
) -> None:
    version = add_version(reference=True)
    failed = prediction("failed", model_id=version.model_id, score=None, decision=None, outcome="error")
    ship_rows(database_url, [failed])
    assert ask(new_id()).status == 404
    answered = ask(failed.prediction_id)
    assert answered.status == 409
    assert answered.json()["detail"].endswith(": no model scored this event")


def test_impacts_that_do_not_add_up_to_the_logged_score_are_not_given_and_counted(
    add_version: Callable[..., ModelVersion], log: Log, ask: Ask, connection: Connection
) -> None:
    (row,) = log(add_version(reference=True), 1)
    connection.execute("UPDATE sira_predictions SET score = score + 0.01")
    before = metrics.reasons_not_additive.labels("cards")._value.get()
    answered = ask(row.prediction_id)
    assert answered.status == 500
    assert answered.json()["type"] == "urn:sira:problem:reasons-not-additive"
    assert metrics.reasons_not_additive.labels("cards")._value.get() == before + 1


def test_before_the_migration_the_answer_says_to_run_it(
    add_version: Callable[..., ModelVersion], log: Log, ask: Ask, connection: Connection
) -> None:
    (row,) = log(add_version(reference=True), 1)
    connection.execute("DROP TABLE sira_prediction_reasons")
    answered = ask(row.prediction_id)
    assert answered.status == 409
    assert "migrations up" in answered.json()["detail"]
