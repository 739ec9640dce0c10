"""Callers keep every answer and send again what was not answered."""

import json
import time
from urllib.parse import urlsplit

import pytest

from lab.load.callers import Callers
from lab.ports import free_port
from tests.support.scripted_server import Behaviour, Serve

ANSWER = {"prediction_id": "p", "score": 0.5, "decision": "review", "model_id": "m", "variant": "canary"}
PAYLOADS = [{"amount": float(number)} for number in range(7)]


def callers_of(url: str, **settings: object) -> Callers:
    return Callers(urlsplit(url).port or 0, "token", "cards", PAYLOADS, per_second=200.0, connections=2, **settings)  # type: ignore[arg-type]


def send(callers: Callers, answered: int) -> None:
    with callers:
        deadline = time.monotonic() + 20
        while callers.ledger.answered + callers.ledger.refused.total() < answered and time.monotonic() < deadline:
            time.sleep(0.01)


def test_event_n_has_payload_n_and_every_twentieth_request_repeats_an_earlier_event(serve: Serve) -> None:
    behaviour = Behaviour(answer=json.dumps(ANSWER).encode())
    send(callers_of(serve(behaviour), repeat_every=20), 45)
    numbers = [int(str(body["event_id"]).removeprefix("event-")) for body in behaviour.bodies]
    assert all(body["payload"] == PAYLOADS[n % 7] for n, body in zip(numbers, behaviour.bodies, strict=True))
    assert (numbers.count(9), numbers.count(19), numbers.count(29), numbers.count(39)) == (2, 0, 2, 0)


def test_a_request_without_an_answer_is_counted_as_broken_and_sent_again(serve: Serve) -> None:
    behaviour = Behaviour(answer=json.dumps(ANSWER).encode(), hang_up=frozenset({3, 7}))
    callers = callers_of(serve(behaviour))
    send(callers, 20)
    events = {str(body["event_id"]) for body in behaviour.bodies}
    assert callers.ledger.broken == 2
    assert callers.ledger.sent == callers.ledger.answered + 2 == len(behaviour.bodies)
    assert len(events) == callers.ledger.answered
    assert callers.ledger.variants["canary"] == callers.ledger.answered


def test_a_refusal_is_counted_by_status_and_fails(serve: Serve) -> None:
    callers = callers_of(serve(Behaviour(status=503, answer=b'{"detail":"full"}')))
    send(callers, 10)
    summary = callers.finish()
    assert callers.ledger.refused[503] == callers.ledger.without_retry_after == summary.errors >= 10
    assert callers.ledger.details["503 full"] >= 10


@pytest.mark.parametrize(("leaves", "connections"), [(True, range(10, 1000)), (False, range(1, 3))])
def test_callers_that_leave_when_unavailable_send_each_request_after_a_503_over_another_connection(
    serve: Serve, leaves: bool, connections: range
) -> None:
    behaviour = Behaviour(status=503, answer=b'{"detail":"full"}')
    send(callers_of(serve(behaviour), leave_when_unavailable=leaves), 10)
    assert behaviour.connections in connections


def test_an_answer_that_contradicts_an_earlier_one_is_counted(serve: Serve) -> None:
    # Every answer has one prediction id, but each is for another event.
    callers = callers_of(serve(Behaviour(answer=json.dumps(ANSWER).encode())))
    send(callers, 5)
    assert callers.ledger.contradicted == callers.ledger.answered - 1


def test_callers_without_a_server_wait_for_one_and_send_nothing() -> None:
    callers = callers_of(f"http://127.0.0.1:{free_port()}")
    with callers:
        time.sleep(0.3)
    assert callers.ledger.unreached > 2
    assert callers.ledger.sent == 0


def test_a_change_applies_to_the_payloads_sent_from_then_on(serve: Serve) -> None:
    behaviour = Behaviour(answer=json.dumps(ANSWER).encode())
    callers = callers_of(serve(behaviour), change=lambda payload: {**payload, "hour": 3})
    send(callers, 5)
    assert all(body["payload"]["hour"] == 3 for body in behaviour.bodies)  # type: ignore[index]
