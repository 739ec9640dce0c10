"""The rows of the prediction log, as COPY text, and their identity."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from scoring.decision import Decision

NULL = "\\N"  # as COPY writes it
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
        """Return the row in the text format of COPY. Written out for speed: every answer waits for it (2 us)."""
        event_id, routing_key, payload = _text(self.event_id), self.routing_key, self.payload
        routing_key = event_id if routing_key == self.event_id else _text(routing_key)
        if "\\" in payload:  # the only character of JSON that is special to COPY
            payload = payload.replace("\\", "\\\\")
        seconds = self.model_seconds
        return (
            f"{self.prediction_id}\t{self.created_at:.6f}\t{self.product}\t{event_id}\t{routing_key}\t{payload}\t"
            f"{self.payload_sha256}\t{self.model_id}\t{self.model_version}\t{self.artifact_sha256}\t"
            f"{self.runtime_version}\t{_or_null(self.score)}\t{_or_null(self.decision)}\t"
            f"{self.review_threshold!r}\t{self.block_threshold!r}\t{self.variant}\t{self.arm}\t"
            f"{_or_null(self.rollout_id)}\t{_or_null(self.phase)}\t{self.cached}\t{self.latency_seconds:.9f}\t"
            f"{NULL if seconds is None else f'{seconds:.9f}'}\t{self.outcome}\n"
        )


class PredictionColumns(NamedTuple):
    """Where the rows of n events that one model scored together differ; names and units are those of Prediction.

    Each has a value per row. `payloads` are canonical JSON.
    """

    prediction_ids: Sequence[str]
    event_ids: Sequence[str]
    routing_keys: Sequence[str]
    payloads: Sequence[bytes]
    digests: Sequence[str]
    scores: Sequence[float]
    cached: Sequence[bool]
    model_seconds: Sequence[float | None]

    def copy_text(self, alike: Prediction) -> bytes:
        """Return n rows as `Prediction.copy_line` writes each; what has no column is as in `alike`."""
        event_ids, keys = _texts(self.event_ids), _texts(self.routing_keys)
        payloads = b"\n".join(self.payloads).decode().replace("\\", "\\\\").split("\n")
        before = f"\t{alike.created_at:.6f}\t{alike.product}\t"
        version = f"\t{alike.model_id}\t{alike.model_version}\t{alike.artifact_sha256}\t{alike.runtime_version}\t"
        decided = (
            f"\t{_or_null(alike.decision)}\t{alike.review_threshold!r}\t{alike.block_threshold!r}\t{alike.variant}\t"
            f"{alike.arm}\t{_or_null(alike.rollout_id)}\t{_or_null(alike.phase)}\t"
        )
        runs = list(zip(self.cached, self.model_seconds, strict=True))
        ends = {
            (cached, seconds): f"{cached}\t{alike.latency_seconds:.9f}\t"
            f"{NULL if seconds is None else f'{seconds:.9f}'}\t{alike.outcome}\n"
            for cached, seconds in set(runs)
        }
        rows = zip(self.prediction_ids, event_ids, keys, payloads, self.digests, self.scores, runs, strict=True)
        return "".join(
            [
                f"{prediction_id}{before}{event_id}\t{key}\t{payload}\t{digest}{version}{score}{decided}{ends[run]}"
                for prediction_id, event_id, key, payload, digest, score, run in rows
            ]
        ).encode()


class ControlledPrediction(Prediction, frozen=True, gc=False):
    """A prediction that the model wanted to block while a control group was on; `propensity`: to be let through."""

    propensity: float

    def copy_line(self) -> str:
        return f"{super().copy_line()[:-1]}\t{self.propensity!r}\n"


def with_propensity(row: Prediction, propensity: float) -> ControlledPrediction:
    return ControlledPrediction(**msgspec.structs.asdict(row), propensity=propensity)


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


class FuseTripRow(msgspec.Struct, frozen=True, gc=False):
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


class ReasonsRow(msgspec.Struct, frozen=True, gc=False):
    """A row of sira_prediction_reasons: why a prediction came out as it did. `reasons` is JSON."""

    prediction_id: str
    created_at: float
    product: str
    model_id: str
    decision: Decision
    background_sha256: str
    method: str
    scale: str
    base: float
    reasons: str

    def copy_line(self) -> str:
        reasons = self.reasons.replace("\\", "\\\\")  # the only character of JSON that is special to COPY
        return (
            f"{self.prediction_id}\t{self.created_at!r}\t{self.product}\t{self.model_id}\t{self.decision}\t"
            f"{self.background_sha256}\t{self.method}\t{self.scale}\t{self.base!r}\t{reasons}\n"
        )


def copy_text(rows: Iterable[Prediction | PairedPrediction | FuseTripRow | ReasonsRow]) -> bytes:
    """Return rows of one table as COPY text. The spool holds these bytes, and the shipper sends them unchanged."""
    return "".join([row.copy_line() for row in rows]).encode()


def _text(text: str) -> str:
    """Return free text escaped for COPY; nearly all text is printable and needs no escapes."""
    if text.isprintable() and "\\" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _texts(texts: Sequence[str]) -> Sequence[str]:
    """Return what `_text` returns for each."""
    joined = "".join(texts)
    return texts if _text(joined) is joined else [_text(text) for text in texts]


def _or_null(value: float | str | None) -> float | str:
    return NULL if value is None else value


def payload_sha256(canonical: bytes) -> str:
    """Return the hex digest of the canonical payload text as it is logged."""
    return hashlib.sha256(canonical).hexdigest()


def prediction_id(model_id: str, product: str, event_id: str, payload_digest: str) -> str:
    """Return the id of a prediction, a UUID (version 8, RFC 9562): the same for the same event and model, forever.

    The payload is part of it, so that an event id that is sent again with another payload is another prediction.
    """
    # No part contains a NUL (event ids with one are refused), so the joined text is unambiguous.
    name = _NAME_HASH.copy()
    name.update(f"{model_id}\0{product}\0{event_id}\0{payload_digest}".encode())
    h = name.hexdigest()
    return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:]}"


def prediction_ids(model_id: str, product: str, event_ids: Sequence[str], digests: Sequence[str]) -> list[str]:
    """Return the ids of predictions of one model and product."""
    return [prediction_id(model_id, product, *one) for one in zip(event_ids, digests, strict=True)]


_NAME_HASH = hashlib.blake2b(digest_size=16, person=b"sira-prediction1")
# Sets the two variant bits of RFC 9562.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
