"""The cost of each step of a batch: the service's own functions over real payloads, a thousand events at a time."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edge.infer import encode
from edge.infer_bodies import MAX_EVENTS, BatchItem, BatchScored
from lab.benchmarks.contender import EVENT_HEAD, event_tail
from lab.benchmarks.model import PRODUCT, Workload
from lab.benchmarks.profile.steps import Step, load, microseconds
from registry.feed import Row
from scoring.batching import MAX_ROWS_INLINE, ScoredRows
from scoring.cache import ScoreCache, cache_key
from scoring.columns.allowed_events import AllowedEvents, allowed_positions
from scoring.columns.column_scorer import settled_job
from scoring.columns.envelopes import Envelope, read_envelopes
from scoring.columns.event_columns import EventColumns, read_columns
from scoring.columns.payloads import texts
from scoring.job import Answer, Job
from scoring.log.prediction import copy_text, payload_sha256, prediction_ids
from scoring.models.slots import ProductSlot, Snapshot
from scoring.telemetry import Telemetry

BATCHES = 4


def measure(workload: Workload) -> list[Step]:
    """Measure the steps in the order of a batch, in microseconds per event."""
    return list(_Batches(workload).steps())


class _Batches:
    """The output of each step is the input of the next."""

    def __init__(self, workload: Workload) -> None:
        payloads = workload.payloads[: BATCHES * MAX_EVENTS]
        events = [f"{EVENT_HEAD}profile-{n}{event_tail(payload)}" for n, payload in enumerate(payloads)]
        groups = [events[first : first + MAX_EVENTS] for first in range(0, len(events), MAX_EVENTS)]
        self.bodies = [f'{{"events":[{",".join(group)}]}}'.encode() for group in groups]
        self._events = len(events)
        self._model = load(workload.model_path)
        self._snapshot = Snapshot({PRODUCT: ProductSlot(PRODUCT, self._model)})
        self._reply: asyncio.Future[Answer] = asyncio.Future(loop=asyncio.new_event_loop())

    def steps(self) -> Iterator[Step]:
        yield self._each("parse the body, leave payloads as text", _envelopes, self.bodies)
        batches = [_envelopes(body) for body in self.bodies]
        reader = self._model.payloads
        assert reader.typed is not None
        payloads = [[envelope.payload for envelope in batch] for batch in batches]
        yield self._each("decode and check the payloads", reader.typed.all, payloads)
        typed = [reader.typed.all(batch) for batch in payloads]
        yield self._each("rows, by column", reader.rows, typed)
        yield self._each("canonical texts", texts, typed)
        columns = [self._columns(batch) for batch in batches]
        yield from self._scoring([batch.rows for batch in columns])
        yield from self._logging([(batch, self._scored(batch)) for batch in columns])

    def _scoring(self, batches: Sequence[list[Row]]) -> Iterator[Step]:
        model, cache = self._model, ScoreCache(self._events // 2)

        def look_up(rows: list[Row]) -> None:
            keys = [cache_key(model.cache_key, row) for row in rows]
            scores = [cache.get(key) for key in keys]
            for key, score in zip(keys, scores, strict=True):
                if score is None:
                    cache.put(key, 0.25)

        yield self._each("look up the cache, keep the scores", look_up, batches)
        runs = [rows[first : first + MAX_ROWS_INLINE] for rows in batches for first in _firsts(rows)]
        arrays = self._each("arrays for the model", model.feed.inputs, runs)
        yield arrays
        yield Step("onnxruntime, 300 trees", self._each("", model.score, runs).microseconds - arrays.microseconds)

    def _logging(self, scored: Sequence[tuple[EventColumns, ScoredRows]]) -> Iterator[Step]:
        alike = [allowed_positions(*batch) for batch in scored]
        others = [
            [(batch, i) for i in range(len(batch[0].places)) if i not in positions]
            for batch, positions in zip(scored, map(set, alike), strict=True)
        ]
        yield self._each("decide", lambda batch: allowed_positions(*batch), scored)
        yield self._each("rows of the events that are not allowed, one by one", self._one_by_one, others)
        allowed = [
            AllowedEvents.of(*batch, positions, self._job(batch, positions[0]).prediction(0.0))
            for batch, positions in zip(scored, alike, strict=True)
        ]
        yield self._each("digests", _digests, [one.events.texts for one in allowed])
        yield self._each(
            "prediction ids",
            lambda one: prediction_ids("m" * 36, PRODUCT, one.event_ids, one.digests),
            [one.columns for one in allowed],
        )
        yield self._each("rows as COPY text", AllowedEvents.copy_text, allowed)
        telemetry = Telemetry()
        yield self._each(
            "count for the metrics",
            lambda one: telemetry.predictions(PRODUCT, "production", "allow", "ok", 0.02, one.columns.scores),
            allowed,
        )
        yield self._each("answers", AllowedEvents.answers, allowed)
        answers = [one.answers() for one in allowed]
        yield self._each("answers as JSON", _as_json, answers)

    def _columns(self, envelopes: list[Envelope]) -> EventColumns:
        (columns,) = read_columns(envelopes, self._snapshot, time.time(), time.perf_counter())
        return columns

    def _scored(self, columns: EventColumns) -> ScoredRows:
        scores = self._model.score(columns.rows).tolist()
        return ScoredRows(scores, [False] * len(scores), [0.001] * len(scores))

    def _job(self, batch: tuple[EventColumns, ScoredRows], position: int) -> Job:
        return settled_job(*batch, position, self._reply)

    def _one_by_one(self, others: Sequence[tuple[tuple[EventColumns, ScoredRows], int]]) -> None:
        copy_text([self._job(*other).prediction(0.0) for other in others])

    def _each(self, name: str, call: Callable[[Any], object], batches: Sequence[Any]) -> Step:
        def run() -> None:
            for batch in batches:
                call(batch)

        return Step(name, microseconds(run, min) / self._events)


def _envelopes(body: bytes) -> list[Envelope]:
    envelopes = read_envelopes(body)
    assert envelopes is not None
    return envelopes


def _digests(payloads: Sequence[bytes]) -> list[str]:
    return [payload_sha256(text) for text in payloads]


def _firsts(rows: Sequence[Row]) -> range:
    return range(0, len(rows), MAX_ROWS_INLINE)


def _as_json(answers: Sequence[Answer]) -> bytes:
    return encode(BatchScored([BatchItem(answer=answer) for answer in answers]))
