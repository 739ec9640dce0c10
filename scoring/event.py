"""The event that a product service sends: one transaction to score, with every fault named at once."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from registry.signature import MAX_FIELDS
from runtime.reading import InputInvalid, Violation, read
from scoring.errors import BodyNotJson

MAX_ID_LENGTH = 128

Scalar = Annotated[
    str | int | float | bool | None, Meta(extra={"expected": "must be text, a number, true, false or null"})
]
ScalarPayload = Annotated[dict[str, Scalar], Meta(max_length=MAX_FIELDS)]
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]


# One of the demo's.
_EXAMPLE = {"amount": 100, "currency": "USD", "country": "US", "payment_method": "card"}


class EventToScore(msgspec.Struct, forbid_unknown_fields=True):
    """One transaction. `payload` has a field for each that the product's model takes; others are logged, not scored.

    `routing_key` keeps a card or a customer with one model during a canary; it is the event_id unless given. With
    `reasons`, the answer names the four fields with the largest impact; it is not taken in a batch.
    """

    event_id: Annotated[Id, Meta(examples=["payment-17"])]
    product: Annotated[Id, Meta(examples=["fraud_score"])]
    payload: Annotated[ScalarPayload, Meta(examples=[_EXAMPLE])]
    routing_key: Id | None = None
    reasons: bool = False


class Event(msgspec.Struct, frozen=True):
    """One transaction. `canonical` is the payload as JSON with sorted keys, which is logged and hashed."""

    event_id: str
    product: str
    payload: dict[str, Scalar]
    routing_key: str
    canonical: bytes
    reasons: bool = False


_decode = msgspec.json.Decoder().decode
_decode_event = msgspec.json.Decoder(EventToScore).decode
# What decoding raises, for whatever is sent.
REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
payload_of = msgspec.json.Decoder(ScalarPayload).decode
# The text of a payload that is logged and hashed.
canonical = msgspec.json.Encoder(order="sorted").encode


def parse_json(body: bytes) -> Any:
    """Return the value of a body, whatever its content type; raises BodyNotJson, which never quotes the body."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BodyNotJson("it cannot be parsed") from None
    except RecursionError:
        raise BodyNotJson("it is nested too deeply") from None


def read_event(body: bytes) -> Event:
    """Return or raise what parse_event(parse_json(body)) does, in one pass for a valid event."""
    try:
        sent = _decode_event(body)
    except REFUSED:
        return parse_event(parse_json(body))
    return _event(sent) or parse_event(parse_json(body))


def parse_event(body: object) -> Event:
    """Return the event in a decoded body; raises InputInvalid naming every wrong field of envelope and payload."""
    try:
        event = _event(msgspec.convert(body, EventToScore))
    except msgspec.ValidationError:
        event = None
    if event is None:
        read(EventToScore, body)
        # A literal backslash before "u0000" looks like an escaped NUL to the quick check of `_event`.
        raise InputInvalid([Violation("/payload", "must not contain the text \\u0000")])
    return event


def _event(sent: EventToScore) -> Event | None:
    """Return None if a part has a NUL, which Postgres cannot store and would block the log."""
    event_id, payload = sent.event_id, sent.payload
    routing_key = sent.routing_key or event_id
    text = canonical(payload)
    if b"\\u0000" in text or "\0" in event_id or "\0" in routing_key:
        return None
    return Event(event_id, sent.product, payload, routing_key, text, sent.reasons)
