"""What each route takes and answers: the facts behind /openapi.json, one entry a route."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from canary.judge.measurement import Measurement
from canary.labels.parsing import LabelsToAdd
from canary.limits import Limits, Mode
from canary.plan import Plan
from canary.report.report import Report
from canary.rollout.request import CanaryToStart, WithReason
from edge.infer import MOST_EVENTS, BatchItem
from edge.models import Registration
from registry.model_version import PROMOTE_TARGETS, ModelVersion, Status
from registry.reason import Reason
from registry.store import MAX_PAGE
from runtime.build import Build
from scoring.event import EventToScore
from scoring.job import Answer
from scoring.log.store import StoredPrediction


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is not JSON."""

    media_type: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter, never required; `schema` is JSON Schema."""

    name: str
    schema: Mapping[str, Any]
    description: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`gives` by status: a type that msgspec can describe, or Text; several are alternatives.

    `refuses` are statuses answered with a problem document, besides those that follow from who may call.
    """

    group: str
    summary: str
    gives: Mapping[int, tuple[Any, ...]]
    takes: Any = None
    body_required: bool = True
    upload: bool = False
    query: tuple[Parameter, ...] = ()
    refuses: tuple[int, ...] = ()
    notes: str = ""


class Health(msgspec.Struct):
    """The process is alive. `timestamp` is RFC 3339, UTC."""

    ok: Literal[True]
    service: Literal["sira-inference"]
    timestamp: str


class Ready(msgspec.Struct, omit_defaults=True):
    """It scores. `faults`: what someone should know although it does."""

    ready: Literal[True]
    faults: list[str] = []


class NotReady(msgspec.Struct):
    """It does not score yet, or no longer, and why."""

    ready: Literal[False]
    reasons: list[str]


class BatchToScore(msgspec.Struct, forbid_unknown_fields=True):
    events: Annotated[list[EventToScore], Meta(min_length=1, max_length=MOST_EVENTS)]


class BatchScored(msgspec.Struct):
    """One result for each event, in order: an answer or an error."""

    results: list[BatchItem]


class ModelPage(msgspec.Struct):
    """Newest first. `total` counts all that match; `next_cursor` is null on the last page; `build` is what runs."""

    models: list[ModelVersion]
    total: int
    next_cursor: str | None
    build: Build


class Promotion(msgspec.Struct, forbid_unknown_fields=True):
    target: Literal["production", "canary", "staging", "archived"]
    reason: Reason | None = None


assert set(PROMOTE_TARGETS) == {"production", "canary", "staging", "archived"}


class Promoted(msgspec.Struct):
    """The version as it is now. `retired_model_id` is the production version that it replaced."""

    model_id: str
    product: str
    name: str
    version: str
    status: Status
    storage_s3_key: str
    sha256: str
    size_bytes: int
    signature: dict[str, Any]
    thresholds: dict[str, float]
    metadata: dict[str, Any]
    created_at: str
    created_by: str
    updated_at: str
    reference: dict[str, Any] | None
    previous_status: Status
    retired_model_id: str | None


State = Literal["none", "running", "paused", "stopped", "rolled_back", "promoted"]


class CanarySummary(msgspec.Struct):
    """What anyone may know of a product's canary. `canary_percent` is 0 when none runs."""

    product: str
    canary_percent: float
    state: State


class CanaryVerdict(msgspec.Struct):
    """The latest judgement and all it was made of."""

    verdict: Literal["continue", "hold", "advance", "rollback"]
    action: str
    reasons: list[str]
    measurements: list[Measurement]
    dispersion: float | None
    evidence_through: str
    judged_at: str


class CanaryDescription(msgspec.Struct):
    """A rollout, and why it stands where it does. Times are RFC 3339; `step` counts from 0, -1 is before the first."""

    product: str
    canary_percent: float
    state: State
    rollout_id: str
    canary_model_id: str
    production_model_id: str
    mode: Mode
    step: int
    steps: int
    gate: Literal["auto", "manual"]
    step_started_at: str
    bake_ends_at: str
    phase: int
    plan: Plan
    limits: Limits
    created_at: str
    created_by: str
    ended_at: str | None
    verdict: CanaryVerdict | None


class LabelsAdded(msgspec.Struct):
    """`new` of those received were not known before."""

    received: int
    new: int


_SCORING = "Scoring"
_MODELS = "Models"
_CANARY = "Canary"
_HEALTH = "Health"

_PROMOTE = Operation(
    _MODELS,
    "Give a version another status",
    {200: (Promoted,)},
    takes=Promotion,
    refuses=(400, 404, 408, 409, 413, 422, 503),
    notes="Production retires the version before it, in one transaction; promoting that one again is the way back.",
)


def _operate(summary: str, *also: Any) -> Operation:
    return Operation(
        _CANARY,
        summary,
        {200: (CanaryDescription, *also)},
        takes=WithReason,
        body_required=False,
        refuses=(400, 404, 408, 409, 413, 422, 503),
    )


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/infer"): Operation(
        _SCORING,
        "Score one event",
        {200: (Answer,)},
        takes=EventToScore,
        refuses=(400, 404, 408, 413, 422, 429, 500, 503),
        notes="Answered when its row is durable. The same event gives the same answer and prediction_id again.",
    ),
    ("POST", "/v1/infer/batch"): Operation(
        _SCORING,
        f"Score up to {MOST_EVENTS:,} events",
        {200: (BatchScored,)},
        takes=BatchToScore,
        refuses=(400, 408, 413, 422, 429, 503),
        notes="An event that cannot be scored is an error in its place and spoils no other.",
    ),
    ("GET", "/v1/predictions/{prediction_id}"): Operation(
        _SCORING,
        "Show a stored prediction, with all that recomputing it needs",
        {200: (StoredPrediction,)},
        refuses=(404, 422, 503),
    ),
    ("POST", "/v1/labels"): Operation(
        _SCORING,
        "Say what events turned out to be",
        {200: (LabelsAdded,)},
        takes=LabelsToAdd,
        refuses=(400, 408, 413, 422, 503),
        notes="Safe to repeat.",
    ),
    ("GET", "/v1/models"): Operation(
        _MODELS,
        "List versions, newest first",
        {200: (ModelPage,)},
        query=(
            Parameter("product", {"type": "string"}, "Only of this product."),
            Parameter("status", {"enum": [str(status) for status in Status]}, "Only with this status."),
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50}, "Page size."),
            Parameter("cursor", {"type": "string"}, "next_cursor of the page before."),
        ),
        refuses=(422, 503),
    ),
    ("POST", "/v1/models"): Operation(
        _MODELS,
        "Register a version",
        {200: (ModelVersion,), 201: (ModelVersion,)},
        takes=Registration,
        upload=True,
        refuses=(400, 408, 409, 413, 422, 503),
        notes="Of an artifact in the store, named by storage_s3_key, or uploaded as the part `file` of a form, "
        "with reference rows in the part `reference`. "
        "201 when it is new, 200 when the very same was registered before.",
    ),
    ("POST", "/v1/models/{model_id}/promote"): _PROMOTE,
    ("POST", "/api/sira/models/{model_id}/promote"): _PROMOTE,
    ("POST", "/v1/canary"): Operation(
        _CANARY,
        "Start a canary, or change its percentage",
        {200: (CanaryDescription,), 201: (CanaryDescription,)},
        takes=CanaryToStart,
        refuses=(400, 404, 408, 409, 413, 422, 503),
        notes="201 when it started, 200 when one was running.",
    ),
    ("GET", "/v1/canary/{product}"): Operation(
        _CANARY,
        "Show a product's canary",
        {200: (CanarySummary, CanaryDescription)},
        refuses=(404, 422, 503),
        notes="Without a role: product, percentage and state only.",
    ),
    ("GET", "/v1/canary/{product}/report"): Operation(
        _CANARY,
        "The case for or against promotion",
        {200: (Report, Text("text/html"))},
        query=(Parameter("format", {"enum": ["json", "html"], "default": "json"}, "html opens offline."),),
        refuses=(404, 422, 503),
    ),
    ("POST", "/v1/canary/{product}/stop"): _operate("Give production all traffic; safe to repeat", CanarySummary),
    ("POST", "/v1/canary/{product}/pause"): _operate("Hold the canary where it is"),
    ("POST", "/v1/canary/{product}/resume"): _operate("Let its plan go on"),
    ("POST", "/v1/canary/{product}/promote"): _operate("Go to the next step now; from the last one to production"),
    ("GET", "/healthz"): Operation(_HEALTH, "Whether the process is alive", {200: (Health,)}),
    ("GET", "/readyz"): Operation(_HEALTH, "Whether it scores", {200: (Ready,), 503: (NotReady,)}),
    ("GET", "/metrics"): Operation(_HEALTH, "Prometheus text of all workers", {200: (Text("text/plain"),)}),
    ("GET", "/openapi.json"): Operation(_HEALTH, "This document", {200: (dict[str, Any],)}),
    ("GET", "/docs"): Operation(_HEALTH, "This document as a page", {200: (Text("text/html"),)}),
}
