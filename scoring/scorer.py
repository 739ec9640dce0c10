"""One request in a straight line: slot -> arm -> row -> cache or model -> decision -> spool -> answer.

Events that arrive while a batch is scored form the next one: there is no timer, and a lone request does not wait. If a
canary raises, is late, or gives no probability, production answers in the same request.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Literal

from canary.fuse import Fuse
from canary.split import choose_arm
from registry.feed import PayloadInvalid
from registry.probability import is_probability
from runtime.reading import InputInvalid, Violation
from scoring.cache import ScoreCache, cache_key
from scoring.errors import ModelNotLoaded, ModelTimedOut, ProductUnknown, ScoringFailed
from scoring.event import Event
from scoring.job import Answer, AnswerReceiver, Job
from scoring.lanes import Lanes
from scoring.log.prediction import FuseTripRow, Outcome, Prediction, copy_text
from scoring.log.spool import Spool, SpoolError
from scoring.models.onnx_model import OnnxModel, Run
from scoring.models.slots import ModelSlots, ProductSlot, ServedRollout
from scoring.pairing import Pairing
from scoring.telemetry import Telemetry

log = logging.getLogger("sira.scoring.scorer")

MAX_ROWS_INLINE = 256

_Fault = Literal["error", "timeout", "non_finite"]
_CANARY_FAULTS: dict[_Fault, Outcome] = {
    "error": "canary_error",
    "timeout": "canary_timeout",
    "non_finite": "canary_non_finite",
}


class Scorer:
    """Answers the events of all products. Create it on the event loop that it runs on; it is not thread-safe."""

    def __init__(
        self,
        slots: ModelSlots,
        spool: Spool,
        telemetry: Telemetry,
        *,
        cache_max_items: int,
        process: str,
        production_timeout_seconds: float = 1.0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots = slots
        self._spool = spool
        self._telemetry = telemetry
        self._cache = ScoreCache(cache_max_items)
        self._process = process
        self._production_timeout_seconds = production_timeout_seconds
        self._lanes = Lanes()
        self._pairing = Pairing(self._lanes, spool, telemetry)
        self._fuses: dict[str, Fuse] = {}
        self._arrived: list[Job] = []

    def submit(self, event: Event, reply: AnswerReceiver) -> None:
        """Score an event; `reply` receives the answer once its row is durable, or ScoringFailed or SpoolError.

        Raises ProductUnknown, ModelNotLoaded or InputInvalid at once.
        """
        snapshot = self._slots.current()
        slot = snapshot.products.get(event.product)
        if slot is None:
            if not snapshot.synced:
                raise ModelNotLoaded("no model is loaded yet")
            if event.product in snapshot.waiting:
                raise ModelNotLoaded(snapshot.waiting[event.product])
            raise ProductUnknown
        self._enqueue(self._route(event, slot, reply))

    def close(self) -> None:
        self._pairing.close()
        self._lanes.close()

    def _route(self, event: Event, slot: ProductSlot, reply: AnswerReceiver) -> Job:
        production, rollout = slot.production, slot.rollout
        try:
            row = production.feed.row(event.payload)
        except PayloadInvalid as invalid:
            violations = (Violation(f"/payload{v.pointer}", v.detail) for v in invalid.violations)
            raise InputInvalid(violations) from None
        job = Job(event, slot, rollout, "production", production, row, row, time.time(), time.perf_counter(), reply)
        if rollout is None or choose_arm(rollout.split, event.routing_key) == "production" or self._fuse(rollout).open:
            return job
        job.arm, job.model = "canary", rollout.canary
        if not rollout.same_fields:
            try:
                job.row = rollout.canary.feed.row(event.payload)
            except PayloadInvalid:
                job.fall_back("canary_error")
        return job

    def _fuse(self, rollout: ServedRollout) -> Fuse:
        fuse = self._fuses.get(rollout.rollout_id)
        if fuse is None:
            fuse = self._fuses[rollout.rollout_id] = Fuse()
        return fuse

    def _enqueue(self, job: Job) -> None:
        if not self._arrived:
            self._loop.call_soon(self._flush)
        self._arrived.append(job)

    def _flush(self) -> None:
        """Score everything that has arrived since the last flush, in one run per model."""
        jobs, self._arrived = self._arrived, []
        settled: list[Job] = []
        groups: dict[OnnxModel, list[Job]] = {}
        for job in jobs:
            job.key = cache_key(job.model.cache_key, job.row)
            score = self._cache.get(job.key)
            self._telemetry.cache(job.event.product, hit=score is not None)
            if score is None:
                groups.setdefault(job.model, []).append(job)
            else:
                job.settle(score, cached=True)
                settled.append(job)
        for model, group in groups.items():
            if not model.inline:
                self._dispatch(model, group)
                continue
            for first in range(0, len(group), MAX_ROWS_INLINE):
                part = group[first : first + MAX_ROWS_INLINE]
                settled += self._take(model, part, model.run([job.row for job in part]))
        self._commit(settled)

    def _dispatch(self, model: OnnxModel, group: list[Job]) -> None:
        """Score off the event loop; a job without a score within its budget is a timeout."""

        def returned(run: Run) -> None:
            expiry.cancel()
            self._commit(self._take(model, group, run))

        def expired() -> None:
            self._commit([job for job in group if _waits(job, model) and self._failed(job, "timeout")])

        expiry = self._loop.call_later(self._budget(group[0]), expired)
        self._lanes.submit(model, [job.row for job in group], returned)

    def _budget(self, job: Job) -> float:
        if job.variant == "canary" and job.rollout:
            return job.rollout.timeout_seconds
        return self._production_timeout_seconds

    def _take(self, model: OnnxModel, group: Sequence[Job], run: Run) -> list[Job]:
        """Hand a run's scores to the jobs that still wait for them; return the jobs that are now settled."""
        first = group[0]
        self._telemetry.model_run(first.event.product, first.variant, run.seconds)
        late = first.variant == "canary" and run.seconds > self._budget(first)
        model_seconds = run.seconds if run.steady else None
        settled = []
        keep = self._cache.put
        for job, score in zip(group, run.scores, strict=True):
            if not _waits(job, model):
                continue
            if score is not None and is_probability(score) and not late:
                job.settle(score, model_seconds=model_seconds)
                keep(job.key, score)
                settled.append(job)
            elif self._failed(job, "timeout" if late else "error" if score is None else "non_finite"):
                settled.append(job)
        return settled

    def _failed(self, job: Job, fault: _Fault) -> bool:
        """Return whether the job is settled: production answers after a failure of the canary, but not of its own."""
        if job.variant == "canary":
            job.fall_back(_CANARY_FAULTS[fault])
            self._enqueue(job)
            return False
        job.outcome = fault
        job.settle(None)
        return True

    def _commit(self, jobs: list[Job]) -> None:
        """Make the rows durable, then answer."""
        if not jobs:
            return
        ready = time.perf_counter()
        rows = [job.prediction(ready) for job in jobs]
        if trips := self._observe_fuses(jobs):
            self._spool.append("trips", copy_text(trips), len(trips), time.time(), lambda error: None)

        def committed(error: SpoolError | None) -> None:
            self._loop.call_soon_threadsafe(self._answer, jobs, rows, error)

        self._spool.append("predictions", copy_text(rows), len(rows), time.time(), committed)

    def _observe_fuses(self, jobs: list[Job]) -> list[FuseTripRow]:
        trips = []
        for job in jobs:
            if job.rollout is None:
                continue
            fuse = self._fuse(job.rollout)
            if job.arm == "production":
                fuse.observe_production(job.outcome != "ok", job.arrived_at)
                continue
            trip = fuse.observe_canary(job.outcome != "ok", job.arrived_at)
            if trip:
                log.error("canary_fuse_tripped", extra={"rollout_id": job.rollout.rollout_id, "errors": trip.errors})
                trips.append(
                    FuseTripRow(
                        job.rollout.rollout_id, self._process, trip.at, trip.requests, trip.errors,
                        trip.production_failing,
                    )
                )  # fmt: skip
        return trips

    def _answer(self, jobs: list[Job], rows: list[Prediction], error: SpoolError | None) -> None:
        """Answer each caller, now that the rows are durable or could not be written."""
        now = time.perf_counter()
        for job, row in zip(jobs, rows, strict=True):
            reply = job.reply
            if error is not None:
                if not reply.done():
                    reply.set_exception(error)
                continue
            self._telemetry.prediction(
                row.product, row.variant, row.decision or "none", row.outcome, now - job.started, row.score
            )
            if row.outcome.startswith("canary"):
                self._telemetry.fallback(row.product, row.outcome)
            if row.score is None or row.decision is None:
                if not reply.done():
                    failed = ModelTimedOut if row.outcome == "timeout" else ScoringFailed
                    reply.set_exception(failed(row.outcome))
                continue
            if not reply.done():
                reply.set_result(
                    Answer(
                        row.prediction_id, row.score, row.decision, row.model_id, row.model_version, row.variant,
                        row.cached,
                    )
                )  # fmt: skip
            if job.rollout and row.outcome == "ok" and _is_paired(job, job.rollout):
                self._pairing.add(job, row.prediction_id)


def _waits(job: Job, model: OnnxModel) -> bool:
    """Return False for a job that has timed out, fallen back or been answered since it was handed over."""
    return not job.settled and job.model is model


def _is_paired(job: Job, rollout: ServedRollout) -> bool:
    """Return whether the other model scores it too: every event of the canary arm, and the shadow share of the rest."""
    return job.arm == "canary" or choose_arm(rollout.shadow, job.event.routing_key) == "canary"
