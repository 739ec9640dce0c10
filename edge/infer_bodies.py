"""Bodies of /v1/infer/batch, the limits of both scoring routes, and their description for /openapi.json."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edge.control.routes import Access, Route, answered_before_routing
from edge.problems import Problem
from registry.signature import MAX_BODY_BYTES
from scoring.columns.envelopes import MAX_EVENTS as MAX_EVENTS
from scoring.event import EventToScore
from scoring.job import Answer

BODY_LIMIT = MAX_BODY_BYTES
BATCH_BODY_LIMIT = 1 << 20

_AnyEvent = Annotated[Any, Meta(extra_json_schema={"$ref": "#/components/schemas/EventToScore"})]


class BatchToScore(msgspec.Struct, forbid_unknown_fields=True):
    """Events that are read one by one: one that cannot be read is an error in its place."""

    events: Annotated[list[_AnyEvent], Meta(min_length=1, max_length=MAX_EVENTS)]


class BatchItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event's outcome: an answer or a problem."""

    answer: Answer | None = None
    error: Problem | None = None


class BatchScored(msgspec.Struct):
    """One result per event, in order: an answer or an error."""

    results: list[BatchItem]


# Only documents these routes; `InferEndpoint` answers them before routing.
ROUTES = (
    Route(
        "POST",
        "/v1/infer",
        Access.SERVICE,
        answered_before_routing,
        "Scoring",
        "Score one event",
        takes=EventToScore,
        gives={200: Answer},
        refuses=(404, 429, 500),
        notes="Answered when its row is durable. The same event gives the same prediction_id again, from the same"
        " model. `reasons: true` is refused (422) for a product whose model is explained by sampling.",
        body_limit=BODY_LIMIT,
    ),
    Route(
        "POST",
        "/v1/infer/batch",
        Access.SERVICE,
        answered_before_routing,
        "Scoring",
        f"Score up to {MAX_EVENTS:,} events",
        takes=BatchToScore,
        gives={200: BatchScored},
        refuses=(429,),
        notes="An event that cannot be scored is an error in its place and does not affect the others.",
        body_limit=BATCH_BODY_LIMIT,
    ),
)
