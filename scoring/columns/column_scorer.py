"""Scores columns in a straight line: arm -> cache or model -> decision -> spool -> answers.

What the events that production allows have in common is done once. Each other event leaves the columns as a job, as if
it had come alone: those of the canary's arm and of shadow scoring, those that are reviewed or blocked, and failures.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from canary.fuse import Fuse
from canary.split import Split, choose_arm
from registry.probability import is_probability
from scoring.batch_reply import BatchReply
from scoring.batching import Batching, ScoredRows
from scoring.columns.event_columns import EventColumns, picked
from scoring.decision import DECISIONS, decide_all
from scoring.job import Answer, Job
from scoring.log.prediction import Prediction, PredictionColumns, payload_sha256, prediction_ids
from scoring.log.spool import Spool, SpoolError
from scoring.models.slots import ServedRollout
from scoring.telemetry import Telemetry

_ALLOW = DECISIONS.index("allow")


class _Alike(NamedTuple):
    """Allowed events. `row` is the first one's; `columns` has what differs."""

    events: EventColumns
    row: Prediction
    columns: PredictionColumns

    def answers(self) -> list[Answer]:
        row, columns = self.row, self.columns
        return [
            Answer(prediction_id, score, "allow", row.model_id, row.model_version, row.variant, cached)
            for prediction_id, score, cached in zip(columns.prediction_ids, columns.scores, columns.cached, strict=True)
        ]


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
        jobs = [_settled(events, i, scored, reply) for i in others]
        if not alike:
            self._commit(jobs)
            return
        row = _settled(events, alike[0], scored, reply).prediction(time.perf_counter())
        allowed = _in_columns(events.of(alike), scored, row, alike)
        text = allowed.columns.copy_text(row)
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
        slot, rollout = events.slot, events.slot.rollout
        if self._explains_allowed(slot.product):
            return []
        scores = np.array(scored.scores, np.float64)  # None becomes NaN
        allowed = (decide_all(scores, slot.production.version.thresholds) == _ALLOW) & ~np.isnan(scores)
        if rollout is not None:
            allowed[_chosen(rollout.shadow, events)] = False
        return list(np.flatnonzero(allowed).tolist())

    def _append(self, allowed: _Alike, text: bytes, reply: BatchReply) -> None:
        """Make the rows durable, then answer."""
        events, rollout = allowed.events, allowed.events.slot.rollout
        if rollout is not None:
            self._fuse(rollout).observe_production(False, events.arrived_at, len(events.places))

        def committed(error: SpoolError | None) -> None:
            self._loop.call_soon_threadsafe(self._answer, allowed, reply, error)

        self._spool.append("predictions", text, len(events.places), time.time(), committed)

    def _answer(self, allowed: _Alike, reply: BatchReply, error: SpoolError | None) -> None:
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


def _settled(events: EventColumns, i: int, scored: ScoredRows, reply: BatchReply) -> Job:
    """Return an event that production has scored, or failed on, as a job."""
    job, score = events.job(i, reply.at(events.places[i])), scored.scores[i]
    if is_probability(score):
        job.settle(score, cached=scored.cached[i], model_seconds=scored.model_seconds[i])
    else:
        job.outcome = "error" if score is None else "non_finite"
        job.settle(None)
    return job


def _in_columns(events: EventColumns, scored: ScoredRows, row: Prediction, alike: Sequence[int]) -> _Alike:
    digests = [payload_sha256(text) for text in events.texts]
    columns = PredictionColumns(
        prediction_ids=prediction_ids(row.model_id, row.product, events.event_ids, digests),
        event_ids=events.event_ids,
        routing_keys=events.routing_keys,
        payloads=events.texts,
        digests=digests,
        scores=[score for score in picked(scored.scores, alike) if score is not None],
        cached=picked(scored.cached, alike),
        model_seconds=picked(scored.model_seconds, alike),
    )
    return _Alike(events, row, columns)
