"""The envelopes of a batch, read in one pass. A payload stays text until the model that takes it is known."""

from typing import Annotated

import msgspec
from msgspec import Meta

from scoring.event import REFUSED, Id

MAX_EVENTS = 1_000  # copied in sira/client/messages.py, which does not import the service; a test compares them


class Envelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event as scoring/event.py's EventToScore describes it; `payload` is any JSON value, not validated."""

    event_id: Id
    product: Id
    payload: msgspec.Raw
    routing_key: Id | None = None
    reasons: bool = False


class _Envelopes(msgspec.Struct, forbid_unknown_fields=True):
    events: Annotated[list[Envelope], Meta(min_length=1, max_length=MAX_EVENTS)]


_decode = msgspec.json.Decoder(_Envelopes).decode


def read_envelopes(body: bytes) -> list[Envelope] | None:
    """Return the envelopes of a batch's body, or None if one is odd: such a body is read event by event.

    Odd is also a text that holds a NUL, or looks like it.
    """
    if b"\\u0000" in body:
        return None
    try:
        return _decode(body).events
    except REFUSED:
        return None
