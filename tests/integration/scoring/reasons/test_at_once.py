"""`reasons: true`: the four largest impacts in the answer, and never at the cost of the answer."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from registry.artifacts import ArtifactStore
from registry.model_version import ModelVersion
from runtime.reading import InputInvalid
from scoring.event import parse_event
from scoring.job import Answer
from scoring.log.spool import Spool
from scoring.models.onnx_model import OnnxModel
from scoring.reasons.explainers import Explainers
from scoring.reasons.worker.at_once import MAX_SECONDS
from scoring.reasons.worker.queue import ReasonsQueue
from scoring.reasons.worker.ready import ReadyExplainers
from scoring.reasons.worker.shares import Shares
from tests.integration.scoring.reasons.conftest import Ask
from tests.support.log_rows import prediction, ship_rows
from tests.support.serving_room import Room, in_room
from tests.support.trained_models import SERVED_MODELS, Trained


@pytest.fixture(scope="session")
def five_fields() -> Trained:
    return SERVED_MODELS["pipeline of columns"]()


@pytest.fixture(scope="session")
def sampled() -> Trained:
    return SERVED_MODELS["neural network"]()


@pytest.fixture
def ready(artifacts: ArtifactStore, database_url: str) -> ReadyExplainers:
    return ReadyExplainers(Explainers(artifacts), database_url, lambda: ())


@pytest.fixture
def serve(add_version: Callable[..., ModelVersion], tmp_path: Path) -> Callable[[Trained], OnnxModel]:
    def load(trained: Trained) -> OnnxModel:
        path = tmp_path / "served.onnx"
        path.write_bytes(trained.model.SerializeToString())
        return OnnxModel(add_version(model=trained, reference=True), path)

    return load


async def ask_for(room: Room, payload: dict[str, Any], **more: object) -> Answer:
    event = {"event_id": "e", "product": "cards", "payload": payload, **more}
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    room.scorer.submit(parse_event(event), answer)
    return await asyncio.wait_for(answer, 20)


def answered(folder: Path, model: OnnxModel, ready: ReadyExplainers, payload: dict[str, Any], **more: object) -> Any:
    """The answer as it is sent, and the number of rows in the log."""

    async def score(room: Room) -> tuple[Any, int]:
        room.serve(model)
        try:
            sent = msgspec.json.decode(msgspec.json.encode(await ask_for(room, payload, **more)))
        except InputInvalid as invalid:
            sent = [violation.pointer for violation in invalid.violations]
        return sent, len(room.logged())

    def queue(spool: Spool) -> ReasonsQueue:
        made = ReasonsQueue(ready, spool, Shares(()))
        made.start()
        return made

    return in_room(folder, score, reasons=queue)


def test_an_answer_has_the_four_largest_impacts_that_the_auditor_will_see(
    serve: Callable[[Trained], OnnxModel], five_fields: Trained, ready: ReadyExplainers, ask: Ask, database_url: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    model, payload = serve(five_fields), five_fields.payloads[0]
    assert ready.open(model.version)
    sent, rows = answered(tmp_path, model, ready, payload, reasons=True)
    assert (len(sent["reasons"]), rows) == (4, 1)
    logged = prediction(
        "e", payload=msgspec.json.encode(payload, order="sorted").decode(), model_id=model.version.model_id,
        artifact_sha256=model.version.sha256, score=sent["score"], decision=sent["decision"],
    )  # fmt: skip
    ship_rows(database_url, [logged])
    fields = ask(logged.prediction_id).json()["fields"]
    assert len(fields) == 5
    assert [{**reason, "value": payload[reason["field"]]} for reason in sent["reasons"]] == fields[:4]


def test_an_answer_to_a_caller_who_did_not_ask_has_none(
    serve: Callable[[Trained], OnnxModel], five_fields: Trained, ready: ReadyExplainers, tmp_path: Path
) -> None:
    model = serve(five_fields)
    ready.open(model.version)
    for more in ({}, {"reasons": False}):
        sent, _ = answered(tmp_path, model, ready, five_fields.payloads[0], **more)
        assert "reasons" not in sent


def test_a_decision_does_not_wait_for_an_explainer_that_is_not_ready(
    serve: Callable[[Trained], OnnxModel], five_fields: Trained, ready: ReadyExplainers, tmp_path: Path
) -> None:
    sent, rows = answered(tmp_path, serve(five_fields), ready, five_fields.payloads[0], reasons=True)
    assert (sent["reasons"], rows) == (None, 1)
    assert sent["decision"] in ("allow", "review", "block")


def test_a_model_that_is_explained_by_sampling_refuses_before_it_scores(
    serve: Callable[[Trained], OnnxModel], sampled: Trained, ready: ReadyExplainers, tmp_path: Path
) -> None:
    model = serve(sampled)
    assert ready.open(model.version)
    assert answered(tmp_path, model, ready, sampled.payloads[0], reasons=True) == (["/reasons"], 0)
    _, rows = answered(tmp_path, model, ready, sampled.payloads[0])
    assert rows == 1


def test_what_serves_is_opened_ahead_and_what_no_longer_does_is_dropped(
    add_version: Callable[..., ModelVersion], artifacts: ArtifactStore, database_url: str
) -> None:
    first, second = add_version("1", reference=True), add_version("2", reference=True)
    serving = [first]
    ready = ReadyExplainers(Explainers(artifacts), database_url, lambda: serving)
    ready.open_served()
    assert ready.get(first.model_id)
    serving[:] = [second]
    ready.open_served()
    assert ready.get(second.model_id)
    assert ready.get(first.model_id) is None


def test_one_version_is_opened_at_a_time_and_none_beyond_the_memory_for_them(
    add_version: Callable[..., ModelVersion], artifacts: ArtifactStore, database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    first, second = add_version("1", reference=True), add_version("2", reference=True)
    ready = ReadyExplainers(Explainers(artifacts), database_url, lambda: (first, second))
    ready.open_served()
    assert ready.get(first.model_id)
    assert ready.get(second.model_id) is None
    ready.open_served()
    assert ready.get(second.model_id)
    small = ReadyExplainers(Explainers(artifacts), database_url, lambda: (first, second), max_bytes=1)
    for _ in range(3):
        small.open_served()
    assert small.get(first.model_id)
    assert small.get(second.model_id) is None
    assert "take all the memory" in caplog.records[-1].__dict__["reason"]


def test_an_explanation_that_would_delay_other_answers_is_left_out(
    serve: Callable[[Trained], OnnxModel], five_fields: Trained, ready: ReadyExplainers, tmp_path: Path
) -> None:
    model = serve(five_fields)
    explained = ready.open(model.version)
    assert explained
    assert 0 < explained.seconds < MAX_SECONDS
    ready._ready[model.version.model_id] = replace(explained, seconds=2 * MAX_SECONDS)
    sent, rows = answered(tmp_path, model, ready, five_fields.payloads[0], reasons=True)
    assert (sent["reasons"], rows) == (None, 1)
