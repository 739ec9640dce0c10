"""One row of the prediction log, and what identifies it."""

import hashlib
from typing import Literal

import msgspec

from scoring.decision import Decision

Variant = Literal["production", "canary"]
Outcome = Literal["ok", "canary_error", "canary_timeout", "canary_non_finite", "error", "timeout", "non_finite"]


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """A row of sira_predictions; field names are its columns. `created_at` is unix seconds, UTC."""

    prediction_id: str
    created_at: float
    product: str
    event_id: str
    routing_key: str
    payload: msgspec.Raw
    payload_sha256: str
    model_id: str
    model_version: str
    artifact_sha256: str
    runtime_version: str
    score: float | None
    decision: Decision | None
    review_threshold: float
    block_threshold: float
    variant: Variant
    arm: Variant
    rollout_id: str | None
    phase: int | None
    cached: bool
    latency_seconds: float
    model_seconds: float | None
    outcome: Outcome


class PairedPrediction(msgspec.Struct, frozen=True, gc=False):
    """A row of sira_paired_predictions: both models' scores of one event."""

    prediction_id: str
    created_at: float
    rollout_id: str
    phase: int
    product: str
    event_id: str
    amount: float | None
    canary_score: float
    canary_decision: Decision
    production_score: float
    production_decision: Decision


class FuseTrip(msgspec.Struct, frozen=True, gc=False):
    """A row of sira_canary_fuse_trips: this process stopped routing to the canary."""

    rollout_id: str
    process: str
    tripped_at: float
    requests: int
    errors: int
    production_failing: bool


class Spooled(msgspec.Struct, frozen=True, gc=False):
    """What one spool batch holds: rows of three tables, as JSON that the shipper's statements read."""

    predictions: list[Prediction] = []
    paired: list[PairedPrediction] = []
    trips: list[FuseTrip] = []


encode_spooled = msgspec.json.Encoder().encode


def payload_sha256(canonical: bytes) -> str:
    """Hex digest of the canonical payload text, byte for byte as logged."""
    return hashlib.sha256(canonical).hexdigest()


def prediction_id(model_id: str, product: str, event_id: str, payload_digest: str) -> str:
    """The same event to the same model has the same id on every pod, for ever: a UUID (version 8, RFC 9562).

    The payload is part of it, so that an event id sent again with another payload is another prediction.
    """
    # Product and digest have no NUL and event ids are refused with one: the join cannot be ambiguous.
    name = f"{model_id}\0{product}\0{event_id}\0{payload_digest}".encode()
    h = hashlib.blake2b(name, digest_size=16, person=b"sira-prediction1").hexdigest()
    return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:]}"
