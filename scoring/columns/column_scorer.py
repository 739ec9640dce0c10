"""Scores columns in a straight line: arm -> cache or model -> decision -> spool -> answers.

What the events that production allows have in common is done once. Each other event leaves the columns as a job, as if
it had come alone: those of the canary's arm and of shadow scoring, those that are reviewed or blocked, and failures.
"""

import asyncio
import time
from collections.abc import Callable

from canary.fuse import Fuse
from canary.split import Split, choose_arm
from registry.probability import is_probability
from scoring.batch_reply import BatchReply
from scoring.batching import Batching, ScoredRows
from scoring.columns.allowed_events import AllowedEvents, allowed_positions
from scoring.columns.event_columns import EventColumns
from scoring.job import AnswerReceiver, Job
from scoring.log.spool import Spool, SpoolError
from scoring.models.slots import ServedRollout
from scoring.telemetry import Telemetry


class ColumnScorer:
    """Not thread-safe: one per event loop."""

    def __init__(
        self,
        batching: Batching,
        spool: Spool,
        telemetry: Telemetry,
        *,
        fuse: Callable[[ServedRollout], Fuse],
        commit: Callable[[list[Job]], None],
        explains_allowed: Callable[[str], bool],
    ) -> None:
        """`commit` takes settled jobs; `explains_allowed` says whether it explains a product's allowed events."""
        self._loop = asyncio.get_running_loop()
        self._batching = batching
        self._spool = spool
        self._telemetry = telemetry
        self._fuse = fuse
        self._commit = commit
        self._explains_allowed = explains_allowed

    def submit(self, events: EventColumns, reply: BatchReply) -> None:
        """Score events; `reply` receives the answer or the error of each event once its row is durable."""
        rollout = events.slot.rollout
        if rollout is not None:
            events = self._without_canary(events, rollout, reply)
        if not events.places:
            return
        scored = self._batching.score_now(events.slot.production, events.rows)
        alike = self._alike(events, scored)
        others = sorted({*range(len(events.places))} - {*alike})
        jobs = [settled_job(events, scored, i, reply.at(events.places[i])) for i in others]
        if not alike:
            self._commit(jobs)
            return
        first = settled_job(events, scored, alike[0], reply.at(events.places[alike[0]]))
        row = first.prediction(time.perf_counter())
        allowed = AllowedEvents.of(events, scored, alike, row)
        text = allowed.copy_text()
        # One right after the other, so that they share a commit.
        self._commit(jobs)
        self._append(allowed, text, reply)

    def _without_canary(self, events: EventColumns, rollout: ServedRollout, reply: BatchReply) -> EventColumns:
        """Return the events of production's arm; the others become jobs."""
        canary = [] if self._fuse(rollout).open else _chosen(rollout.split, events)
        if not canary:
            return events
        for i in canary:
            job = events.job(i, reply.at(events.places[i]))
            job.enter_canary(rollout)
            self._batching.add(job)
        return events.of(sorted({*range(len(events.places))} - {*canary}))

    def _alike(self, events: EventColumns, scored: ScoredRows) -> list[int]:
        """Return the positions of the events that are allowed, and that no other model and no explainer will see."""
        if self._explains_allowed(events.slot.product):
            return []
        allowed, rollout = allowed_positions(events, scored), events.slot.rollout
        if rollout is None:
            return allowed
        shadowed = {*_chosen(rollout.shadow, events)}
        return [i for i in allowed if i not in shadowed]

    def _append(self, allowed: AllowedEvents, text: bytes, reply: BatchReply) -> None:
        """Make the rows durable, then answer."""
        events, rollout = allowed.events, allowed.events.slot.rollout
        if rollout is not None:
            self._fuse(rollout).observe_production(False, events.arrived_at, len(events.places))

        def committed(error: SpoolError | None) -> None:
            self._loop.call_soon_threadsafe(self._answer, allowed, reply, error)

        self._spool.append("predictions", text, len(events.places), time.time(), committed)

    def _answer(self, allowed: AllowedEvents, reply: BatchReply, error: SpoolError | None) -> None:
        events, row = allowed.events, allowed.row
        if error is not None:
            reply.put(events.places, [error] * len(events.places))
            return
        seconds = time.perf_counter() - events.started
        self._telemetry.predictions(row.product, row.variant, "allow", row.outcome, seconds, allowed.columns.scores)
        reply.put(events.places, allowed.answers())


def _chosen(split: Split, events: EventColumns) -> list[int]:
    """Return the positions of the events that a split gives to the canary."""
    if split.percent <= 0.0:
        return []
    return [i for i, key in enumerate(events.routing_keys) if choose_arm(split, key) == "canary"]


def settled_job(events: EventColumns, scored: ScoredRows, i: int, reply: AnswerReceiver) -> Job:
    """Return the event at position `i`, which production has scored or failed on, as a job."""
    job, score = events.job(i, reply), scored.scores[i]
    if is_probability(score):
        job.settle(score, cached=scored.cached[i], model_seconds=scored.model_seconds[i])
    else:
        job.outcome = "error" if score is None else "non_finite"
        job.settle(None)
    return job
