"""The event that a product service sends: one transaction to score, with every fault named at once."""

from typing import Any

import msgspec

from registry.signature import MAX_FIELDS
from runtime.reading import Violation, pointer_part
from scoring.errors import BodyNotJson, EventRefused

MAX_ID_LENGTH = 128

Scalar = str | int | float | bool | None


class Event(msgspec.Struct, frozen=True):
    """One transaction. `canonical` is the payload as JSON with sorted keys, which is logged and hashed."""

    event_id: str
    product: str
    payload: dict[str, Scalar]
    routing_key: str
    canonical: bytes


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """The usual body of an event."""

    event_id: str
    product: str
    payload: dict[str, Scalar]
    routing_key: str | None = None


_FIELDS = frozenset({"event_id", "product", "payload", "routing_key"})
_SCALARS = frozenset({str, int, float, bool, type(None)})
_decode = msgspec.json.Decoder().decode
_decode_body = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder(order="sorted").encode


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
        read = _decode_body(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return parse_event(parse_json(body))
    return _event(read.event_id, read.product, read.payload, read.routing_key) or parse_event(parse_json(body))


def parse_event(body: object) -> Event:
    """Return the event in a decoded body; raises EventRefused naming every wrong field of envelope and payload."""
    if type(body) is not dict:
        raise EventRefused([Violation("", "must be an object")])
    event_id, product, payload = body.get("event_id"), body.get("product"), body.get("payload")
    routing_key = body.get("routing_key")
    if (
        type(event_id) is str
        and type(product) is str
        and (routing_key is None or type(routing_key) is str)
        and type(payload) is dict
        and body.keys() <= _FIELDS
        and _SCALARS.issuperset(map(type, payload.values()))
        and (event := _event(event_id, product, payload, routing_key))
    ):
        return event
    raise EventRefused(_violations(body))


def _event(event_id: str, product: str, payload: dict[str, Scalar], routing_key: str | None) -> Event | None:
    """Return None if a part is empty, too long, or has a NUL, which Postgres cannot store and would block the log."""
    if routing_key is None:
        routing_key = event_id
    if 0 < len(event_id) <= MAX_ID_LENGTH and 0 < len(routing_key) <= MAX_ID_LENGTH and len(payload) <= MAX_FIELDS:
        canonical = _encode(payload)
        if b"\\u0000" not in canonical and "\0" not in event_id and "\0" not in routing_key:
            return Event(event_id, product, payload, routing_key, canonical)
    return None


def _violations(body: dict[str, Any]) -> list[Violation]:
    found = [Violation(f"/{pointer_part(name)}", "is not a field of an event") for name in body.keys() - _FIELDS]
    found += _text_violations("event_id", body.get("event_id"))
    if body.get("routing_key") is not None:
        found += _text_violations("routing_key", body["routing_key"])
    found += _text_violations("product", body.get("product"))
    payload = body.get("payload")
    if not isinstance(payload, dict):
        found.append(Violation("/payload", "is missing" if payload is None else "must be an object"))
        return sorted(found, key=lambda v: v.pointer)
    if len(payload) > MAX_FIELDS:
        found.append(Violation("/payload", f"has more than {MAX_FIELDS} fields"))
    for name, value in payload.items():
        if type(value) not in _SCALARS:
            found.append(Violation(f"/payload/{pointer_part(name)}", "must be a string, a number, true, false or null"))
        elif "\0" in name or (isinstance(value, str) and "\0" in value):
            found.append(Violation(f"/payload/{pointer_part(name)}", "must not contain a NUL character"))
    if not found:
        # A literal backslash before "u0000" looks like an escaped NUL to the quick check.
        found.append(Violation("/payload", "must not contain the text \\u0000"))
    return sorted(found, key=lambda v: v.pointer)


def _text_violations(name: str, value: object) -> list[Violation]:
    if value is None:
        return [Violation(f"/{name}", "is missing")]
    if not isinstance(value, str):
        return [Violation(f"/{name}", "must be a string")]
    if not 0 < len(value) <= MAX_ID_LENGTH:
        return [Violation(f"/{name}", f"must be 1 to {MAX_ID_LENGTH} characters long")]
    if "\0" in value:
        return [Violation(f"/{name}", "must not contain a NUL character")]
    return []
