"""The pages of decisions over a real log, with a real artifact."""

from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from canary.labels.parsing import Label
from canary.labels.store import insert_labels
from registry.model_version import Status
from registry.store import get_version
from runtime.auth import Role
from runtime.postgres import Connection, connect
from scoring.log.prediction import Prediction, copy_text
from scoring.log.store import prepare_shipping, ship
from tests.support.bare import add_version
from tests.support.counting import counted
from tests.support.log_rows import new_id, prediction
from tests.support.table_model import table_model

# Stated in docs/console.md.
MAX_STATEMENTS = {"search": 6, "decision": 16}
SCORES = [0.1, 0.6, 0.95, 0.3]
SECRET = "card-of-a-payload"


def text(answered: Any) -> str:
    return " ".join(unescape(answered.body.decode()).split())


@pytest.fixture
def logged(desk: Any, database_url: str, tmp_path: Path) -> Prediction:
    """A blocked event of a registered model, in the log."""
    model_id = add_version(tmp_path, database_url, table_model(SCORES))
    with connect(database_url, name="tests", autocommit=True) as connection:
        version = get_version(connection, model_id)
    row = prediction(
        "blocked-event",
        model_id=model_id,
        artifact_sha256=version.sha256,
        payload='{"amount":2,"note":"' + SECRET + '"}',
        score=float(np.float32(SCORES[2])),
        decision="block",
        routing_key="card-1",
        runtime_version="onnxruntime 0.1",
    )
    add_rows(database_url, row)
    return row


def add_rows(database_url: str, *rows: Prediction) -> None:
    with connect(database_url, name="tests") as connection:
        prepare_shipping(connection)
        ship(connection, {"predictions": [copy_text(rows)]})


def path(row: Prediction, *more: str) -> str:
    return "/".join(("/console/decisions", row.prediction_id, *more))


def search(desk: Any, **fields: str) -> str:
    return text(desk.get(f"/console/decisions?{urlencode(fields)}", Role.viewer))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, True),
        ({"event_id": "blocked-event"}, True),
        ({"event_id": "blocked-event", "product": "cards"}, True),
        ({"event_id": "blocked-event", "product": "loans"}, False),
        ({"event_id": "other"}, False),
        ({"routing_key": "card-1"}, True),
        ({"routing_key": "card-1", "decision": "allow"}, False),
        ({"routing_key": "card-2"}, False),
        ({"decision": "block"}, True),
        ({"decision": "review"}, False),
        ({"from": "2001-01-01T00:00", "to": "2001-01-02T00:00"}, False),
        ({"to": "2001-01-02T00:00"}, False),
    ],
)
def test_a_search_finds_what_it_names_and_nothing_else(
    desk: Any, logged: Prediction, fields: dict[str, str], found: bool
) -> None:
    assert (path(logged) in search(desk, **fields)) is found


def test_a_prediction_id_leads_to_the_decision(desk: Any, logged: Prediction) -> None:
    answered = desk.get(f"/console/decisions?id=%20{logged.prediction_id}")
    assert (answered.status, answered.headers["location"]) == (303, path(logged))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"from": "yesterday"}, "from: must be a time"),
        ({"to": "99"}, "to: must be a time"),
        ({"from": "2026-01-02T00:00", "to": "2026-01-01T00:00"}, "must not be after the end"),
        ({"decision": "deny"}, "decision: must be allow, review, block or empty"),
        ({"from": "0001-01-01T00:00"}, "Nothing was found"),
    ],
)
def test_a_wrong_field_of_a_search_is_named(desk: Any, fields: dict[str, str], fault: str) -> None:
    assert fault in search(desk, **fields)


def test_a_decision_shows_its_score_version_label_and_payload(desk: Any, logged: Prediction, database_url: str) -> None:
    with connect(database_url, name="tests") as connection:
        label = Label("cards", "blocked-event", "fraud", "chargeback", datetime.now(UTC))
        insert_labels(connection, [label], actor="bank")
    page = text(desk.get(path(logged), Role.auditor))
    assert "0.950000" in page
    assert "review from 0.5 · block from 0.9" in page
    assert "chargeback" in page
    assert SECRET in page
    assert f"/console/models/{logged.model_id}" in page


def test_viewers_see_neither_payload_nor_reasons_nor_a_button(desk: Any, logged: Prediction) -> None:
    page = text(desk.get(path(logged), Role.viewer))
    assert SECRET not in page
    assert "Reasons" not in page
    assert "Recompute" not in page
    assert "need the role auditor" in page
    assert desk.post(path(logged, "recompute"), {}, Role.viewer).status == 403


def test_without_a_background_the_page_says_why_there_are_no_reasons(desk: Any, logged: Prediction) -> None:
    assert "the version has no background yet" in text(desk.get(path(logged)))


def test_recomputing_proves_the_score(desk: Any, logged: Prediction) -> None:
    page = text(desk.post(path(logged, "recompute"), {}, Role.auditor))
    assert "the stored score to the last bit" in page
    assert "has the hash it was logged with" in page
    assert "Scored then by onnxruntime 0.1, now by onnxruntime" in page


def test_recomputing_shows_a_score_that_is_not_the_models(desk: Any, logged: Prediction, database_url: str) -> None:
    forged = replace_row(logged, score=0.2)
    add_rows(database_url, forged)
    page = text(desk.post(path(forged, "recompute"), {}))
    assert "a difference of 0.75" in page


def test_recomputing_shows_a_payload_that_was_changed(desk: Any, logged: Prediction, database_url: str) -> None:
    forged = replace_row(logged, payload='{"amount":1}')
    add_rows(database_url, forged)
    assert "it was changed" in text(desk.post(path(forged, "recompute"), {}))


def test_an_event_that_no_model_scored_cannot_be_recomputed(desk: Any, logged: Prediction, database_url: str) -> None:
    failed = replace_row(logged, score=None, decision=None, outcome="error")
    add_rows(database_url, failed)
    assert "no decision" in text(desk.get(path(failed)))
    assert desk.post(path(failed, "recompute"), {}).status == 409


def replace_row(row: Prediction, **changes: Any) -> Prediction:
    values = {name: getattr(row, name) for name in Prediction.__struct_fields__}
    return Prediction(**{**values, "prediction_id": new_id(), **changes})


def test_an_unknown_prediction_is_not_found(desk: Any) -> None:
    assert desk.get(f"/console/decisions/{new_id()}").status == 404
    assert desk.get("/console/decisions/x").status == 404


def test_the_same_keys_decisions_are_listed_up_to_this_one(desk: Any, logged: Prediction, database_url: str) -> None:
    earlier = replace_row(logged, event_id="earlier", created_at=logged.created_at - 60)
    later = replace_row(logged, event_id="later", created_at=logged.created_at + 60)
    other = replace_row(logged, event_id="other-key", routing_key="card-2")
    add_rows(database_url, earlier, later, other)
    page = text(desk.get(path(logged)))
    assert path(earlier) in page
    assert path(later) not in page
    assert "other-key" not in page


def test_pages_of_decisions_cost_a_fixed_number_of_statements(desk: Any, logged: Prediction, database_url: str) -> None:
    add_rows(database_url, *(replace_row(logged, event_id=f"e{n}") for n in range(200)))
    for name, one in (("search", "/console/decisions"), ("decision", path(logged))):
        with counted(desk.resources) as statements:
            assert desk.get(one).status == 200
        assert len(statements) <= MAX_STATEMENTS[name]


def test_searches_use_an_index(connection: Connection, logged: Prediction) -> None:
    connection.execute("SET enable_seqscan = off")
    for column, index in (
        ("routing_key = 'card-1'", "routing_key"),
        ("created_at > now() - interval '1 min'", "created_at"),
    ):
        plan = connection.execute(f"EXPLAIN SELECT * FROM sira_predictions WHERE {column}".encode()).fetchall()
        assert any(index in line for (line,) in plan)
        assert not any("Seq Scan" in line for (line,) in plan)


def test_a_version_in_production_is_named(desk: Any, logged: Prediction, connection: Connection) -> None:
    assert get_version(connection, logged.model_id).status is Status.PRODUCTION
    assert "table 1" in text(desk.get(path(logged)))
