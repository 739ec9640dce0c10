"""One request in a straight line: slot -> arm -> row -> cache or model -> decision -> spool -> answer.

batching.py scores; this file decides who scores an event, and makes the answer durable.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from canary.fuse import Fuse
from canary.split import choose_arm
from registry.feed import PayloadInvalid
from runtime.reading import InputInvalid, Violation
from scoring.batch_reply import BatchReply
from scoring.batching import Batching
from scoring.cache import ScoreCache
from scoring.columns.column_scorer import ColumnScorer
from scoring.columns.envelopes import Envelope
from scoring.columns.event_columns import EventColumns, read_columns
from scoring.errors import ModelNotLoaded, ModelTimedOut, ProductUnknown, ScoringFailed
from scoring.event import Event
from scoring.job import Answer, AnswerReceiver, Job
from scoring.lanes import Lanes
from scoring.log.frame import Target
from scoring.log.prediction import FuseTripRow, Prediction, copy_text
from scoring.log.spool import Spool, SpoolError
from scoring.models.slots import ModelSlots, ProductSlot, ServedRollout
from scoring.pairing import Pairing
from scoring.reasons.description import FieldReason
from scoring.reasons.worker.at_once import Answered, refuse_sampled, top_reasons
from scoring.reasons.worker.queue import ReasonsQueue
from scoring.telemetry import Telemetry

log = logging.getLogger("sira.scoring.scorer")


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
        reasons: ReasonsQueue | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots = slots
        self._spool = spool
        self._telemetry = telemetry
        self._process = process
        self._reasons = reasons
        self._lanes = Lanes()
        self._pairing = Pairing(self._lanes, spool, telemetry)
        self._batching = Batching(
            ScoreCache(cache_max_items),
            self._lanes,
            telemetry,
            production_timeout_seconds=production_timeout_seconds,
            settled=self._commit,
        )
        self._fuses: dict[str, Fuse] = {}
        self._columns = ColumnScorer(
            self._batching,
            spool,
            telemetry,
            fuse=self._fuse,
            commit=self._commit,
            explains_allowed=self._explains_allowed,
        )

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
        self._batching.add(self._route(event, slot, reply))

    def columns(self, envelopes: Sequence[Envelope]) -> list[EventColumns]:
        """Return the events of a batch that `submit_columns` takes, by product; the others are for `submit`."""
        return read_columns(envelopes, self._slots.current(), time.time(), time.perf_counter())

    def submit_columns(self, events: EventColumns, reply: BatchReply) -> None:
        """Score events together; `reply` receives what `submit` would give for each."""
        self._columns.submit(events, reply)

    def close(self) -> None:
        self._pairing.close()
        self._lanes.close()

    def _route(self, event: Event, slot: ProductSlot, reply: AnswerReceiver) -> Job:
        production, rollout = slot.production, slot.rollout
        if event.reasons and self._reasons is not None:
            refuse_sampled(self._reasons.ready, production.version.model_id)
        try:
            row = production.feed.row(event.payload)
        except PayloadInvalid as invalid:
            violations = (Violation(f"/payload{v.pointer}", v.detail) for v in invalid.violations)
            raise InputInvalid(violations) from None
        job = Job(event, slot, rollout, "production", production, row, row, time.time(), time.perf_counter(), reply)
        if rollout is None or choose_arm(rollout.split, event.routing_key) == "production" or self._fuse(rollout).open:
            return job
        job.enter_canary(rollout)
        return job

    def _fuse(self, rollout: ServedRollout) -> Fuse:
        fuse = self._fuses.get(rollout.rollout_id)
        if fuse is None:
            fuse = self._fuses[rollout.rollout_id] = Fuse()
        return fuse

    def _commit(self, jobs: list[Job]) -> None:
        """Make the rows durable, then answer."""
        if not jobs:
            return
        ready = time.perf_counter()
        rows = [job.prediction(ready) for job in jobs]
        if trips := self._observe_fuses(jobs):
            self._spool.append("trips", copy_text(trips), len(trips), time.time(), lambda error: None)

        if controlled := [place for place, job in enumerate(jobs) if job.propensity is not None]:
            self._append_controlled(jobs, rows, controlled)
        else:
            self._append("predictions", jobs, rows)
        # While the disk is being written.
        if asked := [(job, row) for job, row in zip(jobs, rows, strict=True) if job.event.reasons]:
            self._explain(asked)

    def _append(self, target: Target, jobs: list[Job], rows: list[Prediction]) -> None:
        def committed(error: SpoolError | None) -> None:
            self._loop.call_soon_threadsafe(self._answer, jobs, rows, error)

        self._spool.append(target, copy_text(rows), len(rows), time.time(), committed)

    def _append_controlled(self, jobs: list[Job], rows: list[Prediction], controlled: Sequence[int]) -> None:
        """Spool the rows with a propensity, which have one column more, apart from the others."""
        others = sorted(set(range(len(jobs))) - set(controlled))
        places: tuple[tuple[Target, Sequence[int]], ...] = (("controlled", controlled), ("predictions", others))
        for target, chosen in places:
            if chosen:
                self._append(target, [jobs[place] for place in chosen], [rows[place] for place in chosen])

    def _explain(self, asked: Sequence[tuple[Job, Prediction]]) -> None:
        """Give the jobs of callers who asked for reasons the reasons of their answers."""
        if self._reasons is None:
            found: list[list[FieldReason] | None] = [None] * len(asked)
        else:
            found = top_reasons(self._reasons.ready, [Answered(job.row, row) for job, row in asked])
        for (job, _), reasons in zip(asked, found, strict=True):
            job.reasons = reasons

    def _explains_allowed(self, product: str) -> bool:
        return self._reasons is not None and self._reasons.may_want(product, "allow")

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
            if job.slot.breaker and row.score is not None and job.model.decide(row.score) == "block":
                self._telemetry.downgraded(row.product)
            if job.propensity and row.decision != "block":
                self._telemetry.let_through(row.product)
            if row.score is None or row.decision is None:
                if not reply.done():
                    failed = ModelTimedOut if row.outcome == "timeout" else ScoringFailed
                    reply.set_exception(failed(row.outcome))
                continue
            if not reply.done():
                reply.set_result(
                    Answer(
                        row.prediction_id, row.score, row.decision, row.model_id, row.model_version, row.variant,
                        row.cached, job.reasons,
                    )
                )  # fmt: skip
            if self._reasons is not None:
                self._reasons.offer(job.model.version, job.row, row)
            if job.rollout and row.outcome == "ok" and _is_paired(job, job.rollout):
                self._pairing.add(job, row.prediction_id)


def _is_paired(job: Job, rollout: ServedRollout) -> bool:
    """Return whether the other model scores it too: every event of the canary arm, and the shadow share of the rest."""
    return job.arm == "canary" or choose_arm(rollout.shadow, job.event.routing_key) == "canary"
