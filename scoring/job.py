"""One event on its way to its answer."""

from typing import Protocol

import msgspec

from registry.feed import PayloadInvalid, Row
from registry.model_session import RUNTIME_VERSION
from scoring.decision import Decision, after_breaker
from scoring.event import Event
from scoring.log.prediction import Outcome, Prediction, Variant, payload_sha256, prediction_id, with_propensity
from scoring.models.onnx_model import OnnxModel
from scoring.models.slots import ProductSlot, ServedRollout
from scoring.reasons.description import FieldReason


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The answer to a caller.

    `reasons` is there for a caller who asked: the four fields with the largest impact, or null where the version cannot
    be explained yet.
    """

    prediction_id: str
    score: float
    decision: Decision
    model_id: str
    model_version: str
    variant: Variant
    cached: bool
    reasons: list[FieldReason] | msgspec.UnsetType | None = msgspec.UNSET


class AnswerReceiver(Protocol):
    """Receives an answer, as an asyncio.Future does. `done` is true once the caller no longer waits."""

    def done(self) -> bool: ...
    def set_result(self, result: Answer, /) -> None: ...
    def set_exception(self, exception: Exception, /) -> None: ...


class Job(msgspec.Struct, eq=False):
    """The state of one event.

    `model`, `row`: what to score next; `key`: their cache key. `outcome`: the result of the event's own arm.
    `settled`: the score is final. `propensity`: of a block that the control group may let through.
    """

    event: Event
    slot: ProductSlot
    rollout: ServedRollout | None
    arm: Variant
    model: OnnxModel
    row: Row
    production_row: Row
    arrived_at: float
    started: float
    reply: AnswerReceiver
    key: bytes = b""
    outcome: Outcome = "ok"
    score: float | None = None
    cached: bool = False
    model_seconds: float | None = None
    settled: bool = False
    propensity: float | None = None
    reasons: list[FieldReason] | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def variant(self) -> Variant:
        """The variant that gives the answer."""
        return "production" if self.model is self.slot.production else "canary"

    def settle(self, score: float | None, *, cached: bool = False, model_seconds: float | None = None) -> None:
        """Make a score final; None is a failure of production."""
        self.score, self.cached, self.model_seconds, self.settled = score, cached, model_seconds, True

    def enter_canary(self, rollout: ServedRollout) -> None:
        """Have the canary score; a payload that it does not take is its failure."""
        self.arm, self.model = "canary", rollout.canary
        if not rollout.same_fields:
            try:
                self.row = rollout.canary.feed.row(self.event.payload)
            except PayloadInvalid:
                self.fall_back("canary_error")

    def fall_back(self, outcome: Outcome) -> None:
        """Have production answer; the failure still counts against the canary."""
        self.model, self.row, self.outcome = self.slot.production, self.production_row, outcome

    def _decide(self, score: float) -> Decision:
        # scoring/columns relies on it: an event that the model allows is allowed.
        decision = self.model.decide(score)
        if decision != "block":
            return decision
        if self.slot.breaker:
            return after_breaker(decision)
        if control := self.slot.control:
            self.propensity, passes = control.let_through(self.event, self.arrived_at)
            return control.group.answer if passes else decision
        return decision

    def prediction(self, now_started: float) -> Prediction:
        """Return the settled job as a row of the prediction log."""
        event, version = self.event, self.model.version
        digest = payload_sha256(event.canonical)
        rollout = self.rollout
        # A failure gets an id of its own, so that it does not hide the answer to a retry.
        named = event.event_id if self.score is not None else f"{event.event_id}\0{self.outcome}\0{self.arrived_at}"
        # In the order of Prediction's members: with their names, a row takes a microsecond longer.
        row = Prediction(
            prediction_id(version.model_id, event.product, named, digest),
            self.arrived_at,
            event.product,
            event.event_id,
            event.routing_key,
            event.canonical.decode(),
            digest,
            version.model_id,
            version.version,
            version.sha256,
            RUNTIME_VERSION,
            self.score,
            None if self.score is None else self._decide(self.score),
            version.thresholds.review,
            version.thresholds.block,
            self.variant,
            self.arm,
            rollout.rollout_id if rollout else None,
            rollout.phase if rollout else None,
            self.cached,
            now_started - self.started,
            # After a fallback this would be production's time, and the first runs after a load are slower.
            self.model_seconds if self.outcome == "ok" else None,
            self.outcome,
        )
        return row if self.propensity is None else with_propensity(row, self.propensity)
