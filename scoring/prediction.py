"""One row of the prediction log, and what identifies it."""

import hashlib
from collections.abc import Iterable
from typing import Literal

import msgspec

from scoring.decision import Decision

Variant = Literal["production", "canary"]
Outcome = Literal["ok", "canary_error", "canary_timeout", "canary_non_finite", "error", "timeout", "non_finite"]


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """A row of sira_predictions. `created_at` is unix seconds, UTC; `payload` is its canonical JSON."""

    prediction_id: str
    created_at: float
    product: str
    event_id: str
    routing_key: str
    payload: str
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

    def copy_line(self) -> str:
        """The row in the text format of COPY. Written out, for every answer waits for it (2 us)."""
        return (
            f"{self.prediction_id}\t{self.created_at!r}\t{self.product}\t{_text(self.event_id)}\t"
            f"{_text(self.routing_key)}\t{_text(self.payload)}\t{self.payload_sha256}\t{self.model_id}\t"
            f"{self.model_version}\t{self.artifact_sha256}\t{self.runtime_version}\t{_or_null(self.score)}\t"
            f"{_or_null(self.decision)}\t{self.review_threshold!r}\t{self.block_threshold!r}\t{self.variant}\t"
            f"{self.arm}\t{_or_null(self.rollout_id)}\t{_or_null(self.phase)}\t{self.cached}\t"
            f"{self.latency_seconds!r}\t{_or_null(self.model_seconds)}\t{self.outcome}\n"
        )


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

    def copy_line(self) -> str:
        return (
            f"{self.prediction_id}\t{self.created_at!r}\t{self.rollout_id}\t{self.phase}\t{self.product}\t"
            f"{_text(self.event_id)}\t{_or_null(self.amount)}\t{self.canary_score!r}\t{self.canary_decision}\t"
            f"{self.production_score!r}\t{self.production_decision}\n"
        )


class FuseTrip(msgspec.Struct, frozen=True, gc=False):
    """A row of sira_canary_fuse_trips: this process stopped routing to the canary."""

    rollout_id: str
    process: str
    tripped_at: float
    requests: int
    errors: int
    production_failing: bool

    def copy_line(self) -> str:
        return (
            f"{self.rollout_id}\t{_text(self.process)}\t{self.tripped_at!r}\t{self.requests}\t{self.errors}\t"
            f"{self.production_failing}\n"
        )


def copy_text(rows: Iterable[Prediction | PairedPrediction | FuseTrip]) -> bytes:
    """Rows of one table as COPY takes them: what is spooled is, byte for byte, what is shipped."""
    return "".join([row.copy_line() for row in rows]).encode()


def _text(text: str) -> str:
    """Free text for COPY: nearly all of it is printable and goes as it is."""
    if text.isprintable() and "\\" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _or_null(value: float | str | None) -> float | str:
    return "\\N" if value is None else value


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
