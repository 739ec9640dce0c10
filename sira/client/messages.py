"""What the client sends and receives. Fields that a newer service adds to an answer are ignored."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

# Limits of /v1/infer/batch and of /v1/labels.
MAX_EVENTS = 1_000
MAX_BATCH_BYTES = 1 << 20
MAX_LABELS = 10_000

# Money is a Decimal in most programs; the service takes numbers.
encode = msgspec.json.Encoder(decimal_format="number").encode


class Transaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event to score. `event_id` (1..128 characters) makes it repeatable; one is drawn if you have none.

    `payload`: the model's fields, scalars only. `routing_key`: what a canary's split is sticky by, such as a card.
    `reasons` asks for the fields with the largest impact; a batch does not take it.
    """

    product: str
    payload: Mapping[str, Any]
    event_id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    routing_key: str | None = None
    reasons: bool = False


class EventReason(msgspec.Struct, frozen=True):
    """A field that drove a score: its impact, in log odds and in probability, and what the model's codes say of it."""

    rank: int
    field: str
    value_class: str
    direction: Literal["raises", "lowers", "none"]
    log_odds: float | None
    probability: float
    code: str | None = None
    sentence: str | None = None


class ScoredEvent(msgspec.Struct, frozen=True):
    """The answer to an event. `score`: the fraud probability, in [0, 1]; `variant`: whose answer it is.

    `reasons`: the four largest, if they were asked for and the model is ready to be explained.
    """

    prediction_id: str
    score: float
    decision: Literal["allow", "review", "block"]
    model_id: str
    model_version: str
    variant: Literal["production", "canary"]
    cached: bool
    reasons: tuple[EventReason, ...] | None = None


class FieldFault(msgspec.Struct, frozen=True):
    """A wrong field, by JSON pointer."""

    pointer: str
    detail: str


class EventProblem(msgspec.Struct, frozen=True):
    """An RFC 9457 problem document."""

    status: int = 0
    title: str = ""
    detail: str = ""
    type: str = "about:blank"
    errors: tuple[FieldFault, ...] = ()


class EventLabel(msgspec.Struct, frozen=True):
    """The confirmed outcome of an event. `labelled_at` has a time zone."""

    event_id: str
    product: str
    label: Literal["fraud", "legitimate"]
    source: str
    labelled_at: datetime


class LabelsReceipt(msgspec.Struct, frozen=True):
    """`new` of the received labels were not known before."""

    received: int
    new: int


class _BatchItem(msgspec.Struct, frozen=True):
    answer: ScoredEvent | None = None
    error: EventProblem | None = None


class _Batch(msgspec.Struct, frozen=True):
    results: list[_BatchItem]


def read_scored(body: bytes) -> ScoredEvent:
    return msgspec.json.decode(body, type=ScoredEvent)


def read_receipt(body: bytes) -> LabelsReceipt:
    return msgspec.json.decode(body, type=LabelsReceipt)


def read_batch(body: bytes) -> list[ScoredEvent | EventProblem]:
    """Return one result per event, in order."""
    items = msgspec.json.decode(body, type=_Batch).results
    return [item.answer or item.error or EventProblem() for item in items]


def read_problem(status: int, body: bytes) -> EventProblem:
    """Return the problem document; a proxy's answer that is none becomes a problem with its status."""
    try:
        problem = msgspec.json.decode(body, type=EventProblem)
    except msgspec.MsgspecError:
        problem = EventProblem()
    if problem.status != status:
        return EventProblem(status, f"HTTP {status}", "the answer is not a problem document: does a proxy send it?")
    return problem


def batch_bodies(events: Sequence[Transaction]) -> Iterator[bytes]:
    """Yield bodies of /v1/infer/batch, each within the limits on events and bytes."""
    part: list[bytes] = []
    size = 0
    for event in map(encode, events):
        if part and (len(part) == MAX_EVENTS or size + len(event) + 1 > MAX_BATCH_BYTES - 32):
            yield _batch_body(part)
            part, size = [], 0
        part.append(event)
        size += len(event) + 1
    if part:
        yield _batch_body(part)


def _batch_body(events: list[bytes]) -> bytes:
    return b'{"events":[' + b",".join(events) + b"]}"


def label_bodies(labels: Sequence[EventLabel]) -> Iterator[bytes]:
    """Yield bodies of /v1/labels, each within its limit."""
    for first in range(0, len(labels), MAX_LABELS):
        yield encode(labels[first : first + MAX_LABELS])
