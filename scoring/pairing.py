"""Scores an event with the other model of its rollout after the answer was sent: the evidence for paired comparisons.

The queue is bounded: under load, pairs are dropped and counted, so that answers are not delayed.
"""

import asyncio
import math
import time
from collections.abc import Callable

from registry.feed import PayloadInvalid, Row
from registry.probability import is_probability
from scoring.event import Scalar
from scoring.job import Job
from scoring.lanes import Lanes
from scoring.log.prediction import PairedPrediction, copy_text
from scoring.log.spool import Spool
from scoring.models.onnx_model import OnnxModel, Run
from scoring.telemetry import Telemetry

MAX_WAITING = 2_000
MAX_ROWS = 64
# Long enough to collect many rows for one run and one commit; short against the 5 s after which evidence is sealed.
PAUSE_SECONDS = 0.1
BACKLOG_PAUSE_SECONDS = 0.005

_Pair = tuple[Job, str, Row]


class Pairing:
    """Collects answered jobs for a moment, then scores them with the model that did not answer."""

    def __init__(self, lanes: Lanes, spool: Spool, telemetry: Telemetry) -> None:
        self._lanes = lanes
        self._spool = spool
        self._telemetry = telemetry
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Pair] = []
        self._turn: asyncio.TimerHandle | None = None

    def add(self, job: Job, prediction_id: str) -> None:
        """Queue a job that one model of its rollout has answered, to be scored by the other."""
        assert job.rollout is not None
        if len(self._waiting) >= MAX_WAITING:
            self._telemetry.paired_dropped(job.event.product, 1)
            return
        try:
            row = job.production_row if job.variant == "canary" else job.rollout.canary.feed.row(job.event.payload)
        except PayloadInvalid:
            self._telemetry.paired_dropped(job.event.product, 1)
            return
        self._waiting.append((job, prediction_id, row))
        if self._turn is None:
            self._turn = self._loop.call_later(PAUSE_SECONDS, self._take_turn)

    def close(self) -> None:
        if self._turn:
            self._turn.cancel()

    def _take_turn(self) -> None:
        pairs, self._waiting = self._waiting[:MAX_ROWS], self._waiting[MAX_ROWS:]
        self._turn = self._loop.call_later(BACKLOG_PAUSE_SECONDS, self._take_turn) if self._waiting else None
        groups: dict[OnnxModel, list[_Pair]] = {}
        for pair in pairs:
            groups.setdefault(_other(pair[0]), []).append(pair)
        for model, group in groups.items():
            rows = [row for _, _, row in group]
            if model.inline:
                self._scored(group, model.run(rows))
            else:
                self._lanes.submit(model, rows, self._receiver(group))

    def _receiver(self, group: list[_Pair]) -> Callable[[Run], None]:
        return lambda run: self._scored(group, run)

    def _scored(self, group: list[_Pair], run: Run) -> None:
        rows = [
            _paired(job, prediction_id, score)
            for (job, prediction_id, _), score in zip(group, run.scores, strict=True)
            if score is not None and is_probability(score)
        ]
        if dropped := len(group) - len(rows):
            self._telemetry.paired_dropped(group[0][0].event.product, dropped)
        if not rows:
            return
        # No caller waits for these rows, so a full spool may drop them.
        self._spool.append("paired", copy_text(rows), len(rows), time.time(), lambda error: None)


def _other(job: Job) -> OnnxModel:
    assert job.rollout is not None
    return job.slot.production if job.variant == "canary" else job.rollout.canary


def _paired(job: Job, prediction_id: str, other_score: float) -> PairedPrediction:
    rollout, score = job.rollout, job.score
    assert rollout is not None
    assert score is not None
    canary_score, production_score = (score, other_score) if job.variant == "canary" else (other_score, score)
    return PairedPrediction(
        prediction_id=prediction_id,
        created_at=job.arrived_at,
        rollout_id=rollout.rollout_id,
        phase=rollout.phase,
        product=job.event.product,
        event_id=job.event.event_id,
        amount=_amount(job.event.payload.get("amount")),
        canary_score=canary_score,
        canary_decision=rollout.canary.decide(canary_score),
        production_score=production_score,
        production_decision=job.slot.production.decide(production_score),
    )


def _amount(value: Scalar) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None
