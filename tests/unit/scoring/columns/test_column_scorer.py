"""A batch that is scored by column gets the answers, rows and counts that its events get one by one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from edge.http.counters import HttpCounters
from edge.infer import InferEndpoint
from edge.infer_bodies import BatchToScore
from registry.artifacts.store import open_store
from runtime.reading import InputInvalid, read
from runtime.settings import ReasonsShare
from scoring.batch_reply import AnswerOrError
from scoring.event import parse_json
from scoring.job import Answer
from scoring.log.spool import Spool, SpoolFull
from scoring.models.onnx_model import OnnxModel
from scoring.reasons.explainers import Explainers
from scoring.reasons.worker.queue import ReasonsQueue
from scoring.reasons.worker.ready import ReadyExplainers
from scoring.reasons.worker.shares import Shares
from tests.support.serving_room import Room, in_room
from tests.support.table_model import loaded, table_model
from tests.unit.edge.test_infer import AUTHENTICATOR

# By amount: 0 and 1 are allowed, 2 is reviewed, 3 is blocked, 4 is no probability, and the model raises for 5.
PRODUCTION = (0.1, 0.25, 0.6, 0.95, float("nan"))
CANARY = (0.15, 0.3, 0.05, float("nan"))
# What depends on the moment.
TIMES = {"created_at", "latency_seconds", "model_seconds"}


def event(event_id: str, amount: object, **more: object) -> dict[str, Any]:
    return {"event_id": event_id, "product": "cards", "payload": {"amount": amount}, **more}


# Every kind of event that may be beside others.
MIXED = [
    *(event(f"plain-{n}", n % 2, routing_key=f"card-{n % 17}") for n in range(60)),
    *(event(f"decided-{n}", n) for n in range(6)),
    event("a\tb\\c\nd", 1, routing_key="\\N"),
    event("same", 1),
    event("same", 1),
    event("whole", 1),
    event("fraction", 1.0),
    event("null", None),
    event("negative zero", -0.0),
    event("wrong", "text"),
    event("nested", {"a": 1}),
    {**event("more", 0), "payload": {"amount": 0, "other": "\\ é 😀", "last": None}},
    {**event("more nested", 0), "payload": {"amount": 0, "other": []}},
    {**event("unknown product", 0), "product": "loans"},
    {**event("second product", 1), "product": "wires"},
    event("reasons", 0, reasons=True),
    event("no reasons", 0, reasons=False),
    event("null key", 0, routing_key=None),
]


def comparable(outcome: AnswerOrError) -> Any:
    return outcome if isinstance(outcome, Answer) else (type(outcome).__name__, str(outcome))


def row(logged: Any) -> str:
    kept = {name: value for name, value in vars(logged).items() if name not in TIMES}
    if "score" in kept and kept["score"] is None:
        del kept["prediction_id"]  # a failure's has the moment in it
    return json.dumps(kept)


def counts(room: Room) -> dict[str, Any]:
    telemetry = vars(room.telemetry)
    counted = {
        name: dict(telemetry[name])
        for name in ("_hits", "_misses", "_fallbacks", "_downgraded", "_let_through", "_dropped")
    }
    for labels, answered in telemetry["_answered"].items():
        scores = answered.scores.counts, round(answered.scores.total, 9)
        counted[str(labels)] = dict(answered.decisions), sum(answered.latency.counts), *scores
    return counted


def scored(
    folder: Path, models: dict[str, OnnxModel], body: bytes, *, by_column: bool, **serving: Any
) -> dict[str, Any]:
    """What a batch, sent twice, gives: answers, rows of the log, counts."""

    async def send(room: Room) -> dict[str, Any]:
        room.serve(models["wires"])
        room.serve(models["production"], models.get("canary"), **serving)
        endpoint = InferEndpoint(room.scorer, AUTHENTICATOR, HttpCounters(), max_concurrency=1, timeout_seconds=5)
        answers = []
        for _ in range(2):
            if by_column:
                outcomes = await endpoint.batch_outcomes(body)
            else:
                outcomes = await endpoint.outcomes(read(BatchToScore, parse_json(body)).events)
            answers.append([comparable(outcome) for outcome in outcomes])
        if "canary" in models:
            await until_still(room)
        rows = {target: sorted(map(row, room.logged(target))) for target in ("predictions", "paired")}
        return {"answers": answers, "rows": rows, "counts": counts(room)}

    return in_room(folder / str(by_column), send)


async def until_still(room: Room) -> None:
    """Wait until no more pairs are scored."""
    before = -1
    while before < (before := len(room.logged("paired"))):
        await asyncio.sleep(0.4)


@pytest.mark.parametrize(
    "serving",
    [
        {},
        {"breaker": True},
        {"canary": CANARY, "percent": 30.0},
        {"canary": CANARY, "percent": 100.0},
        {"canary": CANARY, "percent": 0.0, "shadow": 40.0},
        {"canary": CANARY, "percent": 30.0, "shadow": 40.0, "breaker": True},
    ],
    ids=lambda serving: ", ".join(map(str, serving)) or "production",
)
def test_events_by_column_get_what_they_get_one_by_one(tmp_path: Path, serving: dict[str, Any]) -> None:
    models = {
        "production": loaded(tmp_path, table_model(PRODUCTION)),
        "wires": loaded(tmp_path, table_model((0.0, 0.3)), product="wires"),
    }
    serving = dict(serving)
    if table := serving.pop("canary", None):
        models["canary"] = loaded(tmp_path, table_model(table), version="2")
    body = json.dumps({"events": MIXED}).encode()
    one_by_one, by_column = (
        scored(tmp_path, models, body, by_column=by_column, **serving) for by_column in (False, True)
    )
    assert by_column == one_by_one
    assert ("canary" in models) == bool(one_by_one["rows"]["paired"])


def outcomes_of(
    folder: Path, events: list[dict[str, Any]], *, breaker: bool = False, **room: Any
) -> list[AnswerOrError]:
    production = loaded(folder, table_model(PRODUCTION))

    async def send(room: Room) -> list[AnswerOrError]:
        room.serve(production, breaker=breaker)
        endpoint = InferEndpoint(room.scorer, AUTHENTICATOR, HttpCounters(), max_concurrency=1, timeout_seconds=5)
        return await endpoint.batch_outcomes(json.dumps({"events": events}).encode())

    return in_room(folder, send, **room)


def test_a_full_spool_refuses_every_event_that_has_a_row(tmp_path: Path) -> None:
    events = [event("allowed", 0), event("reviewed", 2), event("wrong", "text"), event("allowed too", 1)]
    outcomes = outcomes_of(tmp_path, events, spool_max_bytes=1)
    assert [type(outcome) for outcome in outcomes] == [SpoolFull, SpoolFull, InputInvalid, SpoolFull]


@pytest.mark.parametrize(
    ("decisions", "offered"), [(("review", "block"), 2), (("allow", "block"), 3), (("allow", "review", "block"), 4)]
)
def test_all_predictions_whose_reasons_are_wanted_are_offered(
    tmp_path: Path, decisions: tuple[str, ...], offered: int
) -> None:
    def queue(spool: Spool) -> ReasonsQueue:
        # Without a database nothing is explained: the queue counts what it was offered as dropped.
        ready = ReadyExplainers(
            Explainers(open_store(f"file://{tmp_path}")), "postgresql://127.0.0.1:1/none", lambda: ()
        )
        made = ReasonsQueue(ready, spool, Shares([ReasonsShare(None, decision, 1.0) for decision in decisions]))
        made.start()
        return made

    before = dropped()
    outcomes_of(tmp_path, [event(str(amount), amount) for amount in range(4)], reasons=queue)
    assert dropped() - before == offered


def dropped() -> float:
    return sum(
        REGISTRY.get_sample_value("sira_reasons_dropped_total", {"product": "cards", "reason": reason}) or 0.0
        for reason in ("not_available", "stopped")
    )
