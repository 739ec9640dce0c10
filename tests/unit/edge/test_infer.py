"""The direct path: every wait has an end, every refusal a problem document."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from edge.http.counters import HttpCounters
from edge.infer import InferEndpoint
from edge.infer_bodies import BATCH_BODY_LIMIT, BODY_LIMIT, MAX_EVENTS
from runtime.auth import Authenticator
from runtime.settings import Settings
from tests.support.asgi import GONE, NEVER, Answered, request
from tests.support.serving_room import Room, in_room
from tests.support.table_model import loaded, table_model

T = TypeVar("T")
TOKEN = "s" * 40
AUTH = {"authorization": f"Bearer {TOKEN}"}
AUTHENTICATOR = Authenticator(
    Settings.model_validate(
        {
            "database_url": "postgresql://db/sira",
            "model_bucket": "file:///models",
            "jwt_secret": "j" * 40,
            "internal_service_token": TOKEN,
        }
    )
)


def event(event_id: str = "e", amount: object = 1) -> dict[str, Any]:
    return {"event_id": event_id, "product": "cards", "payload": {"amount": amount}}


def at_the_endpoint(
    folder: Path,
    do: Callable[[InferEndpoint, Room], Awaitable[T]],
    *,
    scores: tuple[float, ...] = (0.1, 0.6, 0.95),
    spins: tuple[int, ...] = (),
    max_concurrency: int = 8,
    timeout_seconds: float = 0.3,
) -> T:
    model = loaded(folder, table_model(scores, spins=spins))

    async def run(room: Room) -> T:
        room.serve(model)
        endpoint = InferEndpoint(
            room.scorer,
            AUTHENTICATOR,
            HttpCounters(),
            max_concurrency=max_concurrency,
            timeout_seconds=timeout_seconds,
        )

        async def sweeping() -> None:
            while True:
                await asyncio.sleep(0.02)
                endpoint.sweep(time.monotonic())

        sweeper = asyncio.create_task(sweeping())
        try:
            return await do(endpoint, room)
        finally:
            sweeper.cancel()

    return in_room(folder, run)


def problem(answered: Answered, status: int) -> dict[str, Any]:
    assert (answered.status, answered.headers["content-type"]) == (status, "application/problem+json")
    found: dict[str, Any] = answered.json()
    assert found["status"] == status
    return found


def one(folder: Path, body: list[Any], headers: dict[str, str] | None = None, **how: Any) -> Answered:
    async def ask(endpoint: InferEndpoint, room: Room) -> Answered:
        answered = await request(endpoint.infer, "POST", "/v1/infer", body, AUTH | (headers or {}))
        assert endpoint.in_flight == 0
        return answered

    return at_the_endpoint(folder, ask, **how)


def test_an_event_is_answered_whatever_its_content_type_says(tmp_path: Path) -> None:
    answered = one(tmp_path, [json.dumps(event()).encode()], {"content-type": "application/x-www-form-urlencoded"})
    assert answered.status == 200
    assert set(answered.json()) == {
        *("prediction_id", "score", "decision", "model_id", "model_version", "variant", "cached"),
    }
    assert int(answered.headers["content-length"]) == len(answered.body)


def test_a_body_in_many_pieces_is_one_body(tmp_path: Path) -> None:
    pieces = [bytes([byte]) for byte in json.dumps(event()).encode()]
    assert one(tmp_path, pieces).status == 200


def padded(size: int) -> bytes:
    body = json.dumps(event()).encode()
    return body + b" " * (size - len(body))


@pytest.mark.parametrize("pieces", [1, 7], ids=["at once", "in pieces"])
def test_64_kib_are_taken_and_a_byte_more_is_not(tmp_path: Path, pieces: int) -> None:
    def cut(body: bytes) -> list[bytes]:
        size = -(-len(body) // pieces)
        return [body[first : first + size] for first in range(0, len(body), size)]

    assert one(tmp_path, cut(padded(BODY_LIMIT))).status == 200
    refused = one(tmp_path, cut(padded(BODY_LIMIT + 1)))
    assert problem(refused, 413)["detail"] == "send at most 65536 bytes"
    assert refused.headers["connection"] == "close"


def test_a_body_that_says_it_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    problem(one(tmp_path, [NEVER], {"content-length": str(BODY_LIMIT + 1)}), 413)


def test_a_body_without_end_is_refused_at_the_limit(tmp_path: Path) -> None:
    problem(one(tmp_path, [b" " * BODY_LIMIT, b" ", NEVER]), 413)


def test_a_body_that_does_not_come_is_refused_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    refused = one(tmp_path, [b'{"event_id"', NEVER])
    assert problem(refused, 408)["detail"] == "no complete request within 0.3 s"
    assert refused.headers["connection"] == "close"
    assert 0.3 <= time.monotonic() - started < 3


def test_a_caller_who_hangs_up_is_let_go(tmp_path: Path) -> None:
    problem(one(tmp_path, [b'{"event_id"', GONE]), 400)


def test_an_answer_that_does_not_come_in_time_is_our_fault_not_the_caller_s(tmp_path: Path) -> None:
    body = json.dumps(event(amount=2)).encode()
    refused = one(tmp_path, [body], spins=(300, 300, 60_000), timeout_seconds=0.2)
    assert problem(refused, 503)["detail"] == "no answer within 0.2 s: try again"
    assert refused.headers["retry-after"] == "1"


def test_who_does_not_show_a_token_is_refused_before_the_body_is_read(tmp_path: Path) -> None:
    async def ask(endpoint: InferEndpoint, room: Room) -> Answered:
        return await request(endpoint.infer, "POST", "/v1/infer", [NEVER])

    refused = at_the_endpoint(tmp_path, ask)
    problem(refused, 401)
    assert refused.headers["www-authenticate"] == "Bearer"


def test_over_the_concurrency_limit_the_surplus_gets_retry_after(tmp_path: Path) -> None:
    async def crowd(endpoint: InferEndpoint, room: Room) -> tuple[list[Answered], Answered]:
        waiting = [asyncio.create_task(request(endpoint.infer, "POST", "/v1/infer", [NEVER], AUTH)) for _ in range(8)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        surplus = await request(endpoint.infer, "POST", "/v1/infer", [json.dumps(event()).encode()], AUTH)
        done = await asyncio.gather(*waiting)
        assert (await request(endpoint.infer, "POST", "/v1/infer", [json.dumps(event()).encode()], AUTH)).status == 200
        return done, surplus

    done, surplus = at_the_endpoint(tmp_path, crowd)
    assert [answered.status for answered in done] == [408] * 8
    problem(surplus, 429)
    assert surplus.headers["retry-after"] == "1"


# ---------------------------------------------------------------- batch


def batch(folder: Path, body: object, **how: Any) -> Answered:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def ask(endpoint: InferEndpoint, room: Room) -> Answered:
        return await request(endpoint.batch, "POST", "/v1/infer/batch", [raw], AUTH)

    return at_the_endpoint(folder, ask, **how)


def test_a_batch_answers_or_refuses_each_event_in_order(tmp_path: Path) -> None:
    events = [event("a", 2), event("b", "text"), {"event_id": "c"}, event("d", 0), 7, event("f", 99), event("a", 2)]
    results = batch(tmp_path, {"events": events}).json()["results"]
    outcomes = [result.get("answer", {}).get("decision") or result["error"]["status"] for result in results]
    assert outcomes == ["block", 422, 422, "allow", 422, 500, "block"]
    assert results[0]["answer"]["prediction_id"] == results[6]["answer"]["prediction_id"]
    assert results[1]["error"]["errors"] == [{"pointer": "/payload/amount", "detail": "must be a number"}]
    assert all(set(result) in ({"answer"}, {"error"}) for result in results)


def test_one_event_that_the_model_chokes_on_spoils_no_other_of_its_batch(tmp_path: Path) -> None:
    events = [event(str(n), 99 if n == 500 else n % 3) for n in range(1000)]
    results = batch(tmp_path, {"events": events}, timeout_seconds=5).json()["results"]
    assert [n for n, result in enumerate(results) if "error" in result] == [500]


@pytest.mark.parametrize("count", [1, MAX_EVENTS])
def test_a_batch_holds_1_to_1000_events(tmp_path: Path, count: int) -> None:
    answered = batch(tmp_path, {"events": [event(str(n)) for n in range(count)]}, timeout_seconds=5)
    assert len(answered.json()["results"]) == count


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"events": []}, {"/events"}),
        ({"events": [{}] * (MAX_EVENTS + 1)}, {"/events"}),
        ({"events": "x"}, {"/events"}),
        ({}, {"/events"}),
        ([event()], {""}),
        ({"events": [event()], "more": 1, "and": 2}, {"/more", "/and"}),
    ],
)
def test_a_body_that_is_no_batch_is_refused_as_a_whole(tmp_path: Path, body: object, errors: set[str]) -> None:
    refused = problem(batch(tmp_path, body), 422)
    assert {error["pointer"] for error in refused["errors"]} == errors


def test_a_mebibyte_of_batch_is_taken_and_a_byte_more_is_not(tmp_path: Path) -> None:
    body = json.dumps({"events": [event()]}).encode()
    assert batch(tmp_path, body + b" " * (BATCH_BODY_LIMIT - len(body))).status == 200
    problem(batch(tmp_path, body + b" " * (BATCH_BODY_LIMIT + 1 - len(body))), 413)


def test_reasons_are_not_taken_in_a_batch_and_null_where_nothing_explains(tmp_path: Path) -> None:
    (refused, taken) = batch(tmp_path, {"events": [{**event(), "reasons": True}, event()]}).json()["results"]
    assert refused["error"]["errors"][0]["pointer"] == "/reasons"
    assert taken["answer"]["decision"] == "review"
    assert one(tmp_path, [json.dumps({**event(), "reasons": True}).encode()]).json()["reasons"] is None
    problem(one(tmp_path, [json.dumps({**event(), "reasons": "yes"}).encode()]), 422)
