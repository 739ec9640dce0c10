"""Why a canary decides differently: differences of impacts, against the definition, and in the report."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from canary.rollout import operations
from canary.rollout.request import CanaryToStart
from edge import api
from edge.control.app import control_app
from edge.control.routes import Resources
from registry.artifacts import ArtifactStore
from registry.model_session import ModelSession
from registry.model_version import ModelVersion
from runtime.auth import Authenticator, Role, mint_token
from runtime.postgres import Connection
from runtime.settings import Settings
from scoring.decision import decide
from scoring.reasons.differences import EventOfTwo, impact_differences
from scoring.reasons.explainers import Explainers
from tests.support.asgi import Answered, request
from tests.support.brute_force import log_odds, shapley
from tests.support.log_rows import prediction, ship_rows
from tests.support.trained_models import SERVED_MODELS, Trained

EVENTS = 60


@pytest.fixture(scope="session")
def others() -> dict[str, Trained]:
    return {name: SERVED_MODELS[name]() for name in ("XGBoost", "random forest")}


def score(version: ModelVersion, model: Trained, payloads: list[dict[str, Any]]) -> list[float]:
    session = ModelSession(version.signature, model.model.SerializeToString())
    return session.score([session.feed.row(payload) for payload in payloads]).tolist()


def events(before: tuple[ModelVersion, Trained], after: tuple[ModelVersion, Trained], count: int) -> list[EventOfTwo]:
    payloads = list(before[1].payloads[:count])
    scores = score(*before, payloads), score(*after, payloads)
    return [EventOfTwo(str(n), *event) for n, event in enumerate(zip(payloads, *scores, strict=True))]


def test_differences_are_the_shapley_values_of_the_difference_between_the_models(
    add_version: Callable[..., ModelVersion], trained: Trained, others: dict[str, Trained], connection: Connection,
    artifacts: ArtifactStore,
) -> None:  # fmt: skip
    after_model = others["XGBoost"]
    before, after = add_version("1", reference=True), add_version("2", model=after_model, reference=True)
    explainers = Explainers(artifacts)
    given = events((before, trained), (after, after_model), 2)
    found = impact_differences(connection, explainers, before, after, given)
    assert (found.places, found.scale) == ([0, 1], "log_odds")
    sessions = [
        ModelSession(version.signature, model.model.SerializeToString())
        for version, model in ((before, trained), (after, after_model))
    ]
    background = explainers.of(connection, before).rows

    def margins(rows: Any) -> Any:
        first, second = (log_odds(session.score(rows)) for session in sessions)
        return second - first

    for event, values in zip(given, found.values, strict=True):
        _, expected = shapley(margins, sessions[0].feed.row(event.payload), background)
        assert values == pytest.approx(expected, abs=1e-4)


def test_models_on_different_scales_are_compared_in_probability(
    add_version: Callable[..., ModelVersion], trained: Trained, others: dict[str, Trained], connection: Connection,
    artifacts: ArtifactStore,
) -> None:  # fmt: skip
    forest = others["random forest"]
    before, after = add_version("1", reference=True), add_version("2", model=forest, reference=True)
    explainers, given = Explainers(artifacts), events((before, trained), (after, forest), 3)
    found = impact_differences(connection, explainers, before, after, given)
    assert found.scale == "probability"
    bases = [float(explainers.of(connection, version, against=before).explainer.base) for version in (before, after)]
    base = 1 / (1 + np.exp(-bases[0]))
    for event, values in zip(given, found.values, strict=True):
        moved = event.after_score - bases[1] - (event.before_score - base)
        assert values.sum() == pytest.approx(moved, abs=1e-4)


def test_an_event_whose_impacts_do_not_add_up_is_left_out(
    add_version: Callable[..., ModelVersion], trained: Trained, others: dict[str, Trained], connection: Connection,
    artifacts: ArtifactStore,
) -> None:  # fmt: skip
    after_model = others["XGBoost"]
    before, after = add_version("1", reference=True), add_version("2", model=after_model, reference=True)
    good, wrong = events((before, trained), (after, after_model), 2)
    given = [wrong._replace(after_score=wrong.after_score + 0.01), good]
    found = impact_differences(connection, Explainers(artifacts), before, after, given)
    assert (found.places, found.values.shape) == ([1], (1, 4))


@pytest.fixture
def report(settings: Callable[..., Settings], database_url: str, artifacts: ArtifactStore) -> Callable[..., Answered]:
    read = settings()
    app = control_app(api.ROUTES, Resources(database_url, artifacts), Authenticator(read), lambda route, status: None)

    def get(query: str = "") -> Answered:
        secret, now = read.jwt_secret.get_secret_value(), datetime.now(UTC)
        token = mint_token(secret, subject="amina", role=Role.viewer, now=now, lifetime=timedelta(hours=1))
        headers = {"authorization": f"Bearer {token}"}
        return asyncio.run(request(app, "GET", f"/v1/canary/cards/report{query}", headers=headers))

    return get


def flip(
    connection: Connection, database_url: str, rollout_id: str, production: ModelVersion, canary: ModelVersion,
    given: list[EventOfTwo],
) -> int:  # fmt: skip
    """Log the events as scored by both, and return how many were decided differently."""
    rows, flips = [], 0
    for event in given:
        row = prediction(
            str(uuid4()), payload=json.dumps(dict(event.payload), sort_keys=True), model_id=production.model_id,
            score=event.before_score, rollout_id=rollout_id, phase=0,
        )  # fmt: skip
        decisions = decide(event.after_score, canary.thresholds), decide(event.before_score, production.thresholds)
        flips += decisions[0] != decisions[1]
        rows.append(row)
        connection.execute(
            "INSERT INTO sira_paired_predictions (prediction_id, day, created_at, rollout_id, phase, product, event_id,"
            " amount, canary_score, canary_decision, production_score, production_decision)"
            " VALUES (%s, (to_timestamp(%s) AT TIME ZONE 'UTC')::date, to_timestamp(%s), %s, 0, 'cards', %s, 1, %s, %s,"
            " %s, %s)",
            (
                *(row.prediction_id, row.created_at, row.created_at, rollout_id, row.event_id),
                *(event.after_score, decisions[0], event.before_score, decisions[1]),
            ),
        )
    ship_rows(database_url, rows)
    return flips


@pytest.mark.parametrize("reference", [True, False])
def test_the_report_says_which_fields_moved_the_flips_or_why_it_cannot(
    add_version: Callable[..., ModelVersion], trained: Trained, others: dict[str, Trained], connection: Connection,
    report: Callable[..., Answered], database_url: str, reference: bool,
) -> None:  # fmt: skip
    other = others["XGBoost"]
    production = add_version("1", reference=reference)
    canary = add_version("2", model=other, reference=True, staged=True)
    wanted = CanaryToStart(product="cards", canary_percent=10, canary_model_id=canary.model_id)
    with connection.transaction():
        rollout, _ = operations.start_or_change(connection, wanted, actor="tests", ignore_alerts=True)
    rollout_id = rollout.rollout_id
    given = events((production, trained), (canary, other), EVENTS)
    assert report().json()["flip_reasons"] is None
    flips = flip(connection, database_url, rollout_id, production, canary, given)
    assert flips > 1
    found = report().json()["flip_reasons"]
    page = report("?format=html").body.decode()
    if not reference:
        assert "no background yet" in found["unexplained"]
        assert "Not explained: there are no reasons" in page
        return
    assert (found["events"], found["scale"], found["unexplained"]) == (flips, "log_odds", None)
    sizes = [field["mean_absolute_difference"] for field in found["fields"]]
    assert len(sizes) == 4
    assert sizes == sorted(sizes, reverse=True)
    assert all(abs(field["mean_difference"]) <= field["mean_absolute_difference"] for field in found["fields"])
    first = found["examples"][0]
    assert first["production_decision"] != first["canary_decision"]
    assert len(first["fields"]) == 4
    assert "Which fields moved them" in page
    assert found["fields"][0]["field"] in page
