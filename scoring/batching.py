"""Micro-batches: what has arrived is looked up in the cache or scored together, one run per model.

Events that arrive while a batch is scored form the next one: there is no timer, and a lone request does not wait. If a
canary raises, is late, or gives no probability, production scores the event in the next batch.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from registry.feed import Row
from registry.probability import is_probability
from scoring.cache import ScoreCache, cache_key
from scoring.job import Job
from scoring.lanes import Lanes
from scoring.log.prediction import Outcome
from scoring.models.onnx_model import OnnxModel, Run
from scoring.telemetry import Telemetry

MAX_ROWS_INLINE = 256

_Fault = Literal["error", "timeout", "non_finite"]
_CANARY_FAULTS: dict[_Fault, Outcome] = {
    "error": "canary_error",
    "timeout": "canary_timeout",
    "non_finite": "canary_non_finite",
}


class ScoredRows(NamedTuple):
    """One score per row: None where the model raised, NaN where it gave no probability.

    `model_seconds` is the wall time of the run that a row shared; None for a score of the cache, and for the first runs
    of a model.
    """

    scores: list[float | None]
    cached: list[bool]
    model_seconds: list[float | None]


class Batching:
    """Scores jobs; `settled` receives those that are done, several at a time. Not thread-safe: one per event loop."""

    def __init__(
        self,
        cache: ScoreCache,
        lanes: Lanes,
        telemetry: Telemetry,
        *,
        production_timeout_seconds: float,
        settled: Callable[[list[Job]], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._cache = cache
        self._lanes = lanes
        self._telemetry = telemetry
        self._production_timeout_seconds = production_timeout_seconds
        self._settled = settled
        self._arrived: list[Job] = []

    def add(self, job: Job) -> None:
        """Score a job with its model in the next turn of the event loop."""
        if not self._arrived:
            self._loop.call_soon(self._flush)
        self._arrived.append(job)

    def score_now(self, model: OnnxModel, rows: Sequence[Row]) -> ScoredRows:
        """Score rows with a product's production model, or find their scores in the cache, before this returns."""
        product, get, keep = model.version.product, self._cache.get, self._cache.put
        keys = [cache_key(model.cache_key, row) for row in rows]
        scores = [get(key) for key in keys]
        cached = [score is not None for score in scores]
        seconds: list[float | None] = [None] * len(rows)
        missed = [place for place, score in enumerate(scores) if score is None]
        self._telemetry.looked_up(product, hits=len(rows) - len(missed), misses=len(missed))
        for first in range(0, len(missed), MAX_ROWS_INLINE):
            places = missed[first : first + MAX_ROWS_INLINE]
            run = model.run([rows[place] for place in places])
            self._telemetry.model_run(product, "production", run.seconds)
            for place, score in zip(places, run.scores, strict=True):
                scores[place], seconds[place] = score, run.seconds if run.steady else None
                if score is not None and is_probability(score):
                    keep(keys[place], score)
        return ScoredRows(scores, cached, seconds)

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
        self._settled(settled)

    def _dispatch(self, model: OnnxModel, group: list[Job]) -> None:
        """Score off the event loop; a job without a score within its budget is a timeout."""

        def returned(run: Run) -> None:
            expiry.cancel()
            self._settled(self._take(model, group, run))

        def expired() -> None:
            self._settled([job for job in group if _waits(job, model) and self._failed(job, "timeout")])

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
            self.add(job)
            return False
        job.outcome = fault
        job.settle(None)
        return True


def _waits(job: Job, model: OnnxModel) -> bool:
    """Return False for a job that has timed out, fallen back or been answered since it was handed over."""
    return not job.settled and job.model is model
