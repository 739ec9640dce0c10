"""Bodies of the client stay within the limits of the API, which are those of the service."""

import json
from datetime import UTC, datetime
from decimal import Decimal

from canary.labels import parsing
from edge import infer_bodies
from sira.client import messages
from sira.client.messages import EventLabel, Transaction, batch_bodies, label_bodies


def events_of(bodies: list[bytes]) -> list[str]:
    return [event["event_id"] for body in bodies for event in json.loads(body)["events"]]


def test_the_limits_are_those_of_the_service() -> None:
    assert (messages.MAX_EVENTS, messages.MAX_BATCH_BYTES) == (infer_bodies.MAX_EVENTS, infer_bodies.BATCH_BODY_LIMIT)
    assert parsing.MAX_LABELS == messages.MAX_LABELS


def test_a_batch_is_divided_by_events_and_keeps_their_order() -> None:
    ids = [f"e{n}" for n in range(2_001)]
    bodies = list(batch_bodies([Transaction("cards", {"amount": 1}, event_id) for event_id in ids]))
    assert [len(json.loads(body)["events"]) for body in bodies] == [1_000, 1_000, 1]
    assert events_of(bodies) == ids


def test_a_batch_is_divided_by_bytes() -> None:
    wide = [Transaction("cards", {"text": "x" * 10_000}, f"e{n}") for n in range(300)]
    bodies = list(batch_bodies(wide))
    assert max(map(len, bodies)) <= messages.MAX_BATCH_BYTES
    assert events_of(bodies) == [event.event_id for event in wide]


def test_nothing_to_send_is_no_body() -> None:
    assert list(batch_bodies([])) == list(label_bodies([])) == []


def test_an_event_without_an_id_gets_one_of_its_own() -> None:
    first, second = Transaction("cards", {}), Transaction("cards", {})
    assert first.event_id != second.event_id


def test_money_is_sent_as_a_number() -> None:
    (body,) = batch_bodies([Transaction("cards", {"amount": Decimal("12.50")}, "e1")])
    assert json.loads(body)["events"][0]["payload"] == {"amount": 12.5}


def test_a_label_carries_its_time_zone() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    (body,) = label_bodies([EventLabel("e1", "cards", "fraud", "chargeback", at)])
    assert json.loads(body)[0]["labelled_at"] == "2026-01-02T03:04:05Z"
