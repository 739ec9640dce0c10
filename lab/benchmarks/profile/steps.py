"""The cost of each step of a request: the service's own functions over real payloads, thousands at a time.

Timing thousands at once keeps the cost of reading the clock out of the figures.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.http.counters import HttpCounters
from edge.infer import encode
from lab.benchmarks.contender import EVENT_HEAD, event_tail
from lab.benchmarks.model import PRODUCT, Workload
from registry.inspection.parent import inspect_model
from registry.model_version import ModelVersion, Status, Thresholds
from runtime.auth import ServiceTokens
from scoring.cache import ScoreCache, cache_key
from scoring.event import Event, read_event
from scoring.job import Answer, Job
from scoring.log.prediction import Prediction, copy_text
from scoring.models.onnx_model import OnnxModel
from scoring.models.slots import ProductSlot
from scoring.telemetry import Telemetry

REQUESTS = 4_096
ROUNDS = 7


@dataclass(frozen=True)
class Step:
    name: str
    microseconds: float


def measure(workload: Workload, batch: int) -> list[Step]:
    """Measure the steps in the order of a request; `batch`: events per run of the model and per commit."""
    return list(_Request(workload, max(1, batch)).steps())


class _Request:
    """The output of each step is the input of the next."""

    def __init__(self, workload: Workload, batch: int) -> None:
        self.batch = batch
        self.bodies = [
            f"{EVENT_HEAD}profile-{number}{event_tail(payload)}".encode()
            for number, payload in enumerate(workload.payloads[:REQUESTS])
        ]
        self.model = load(workload.model_path)
        self._slot = ProductSlot(PRODUCT, self.model)
        self._reply: asyncio.Future[Answer] = asyncio.Future(loop=asyncio.new_event_loop())

    def steps(self) -> Iterator[Step]:
        model, tokens = self.model, ServiceTokens("s" * 43)
        header = b"Bearer " + b"s" * 43
        yield self._each("compare the service token", lambda _: tokens.accept(header), self.bodies)
        events = [read_event(body) for body in self.bodies]
        yield self._each("parse and check the body, write its payload canonically", read_event, self.bodies)
        payloads = [event.payload for event in events]
        rows = [model.feed.row(payload) for payload in payloads]
        yield self._each("check the payload against the signature", model.feed.row, payloads)
        jobs = [self._job(event, row) for event, row in zip(events, rows, strict=True)]
        yield self._each("make the job", lambda event: self._job(event, rows[0]), events)
        cache = ScoreCache(REQUESTS // 2)
        yield self._each("look up the cache, keep the score", lambda row: _through(cache, model, row), rows)
        yield from self._scoring(rows)
        for job in jobs:
            job.settle(0.25, model_seconds=0.001)
        now = time.perf_counter()
        predictions = [job.prediction(now) for job in jobs]
        yield self._each("digest, prediction id, row of the log", lambda job: job.prediction(now), jobs)
        yield self._batched("the row as COPY text", copy_text, predictions)
        yield self._counting(predictions)
        answers = [_answer(row) for row in predictions]
        yield self._each("the answer as JSON", encode, answers)

    def _job(self, event: Event, row: Any) -> Job:
        arrived, started = time.time(), time.perf_counter()
        return Job(event, self._slot, None, "production", self.model, row, row, arrived, started, self._reply)

    def _scoring(self, rows: Sequence[Any]) -> Iterator[Step]:
        feed = self._batched("arrays for the model", self.model.feed.inputs, rows)
        whole = self._batched("", self.model.score, rows)
        yield feed
        yield Step("onnxruntime, 300 trees", whole.microseconds - feed.microseconds)

    def _counting(self, predictions: Sequence[Prediction]) -> Step:
        telemetry, counters = Telemetry(), HttpCounters()

        def count(row: Prediction) -> None:
            telemetry.cache(row.product, hit=False)
            telemetry.prediction(row.product, row.variant, row.decision or "none", row.outcome, 0.002, row.score)
            counters.response("/v1/infer", 200)

        return self._each("count for the metrics", count, predictions)

    def _each(self, name: str, call: Callable[[Any], object], items: Sequence[Any]) -> Step:
        def run() -> None:
            for item in items:
                call(item)

        return Step(name, microseconds(run) / len(items))

    def _batched(self, name: str, call: Callable[[Sequence[Any]], object], items: Sequence[Any]) -> Step:
        groups = [items[first : first + self.batch] for first in range(0, len(items), self.batch)]

        def run() -> None:
            for group in groups:
                call(group)

        return Step(name, microseconds(run) / len(items))


def load(path: Path) -> OnnxModel:
    """Open a model with the description that the registry would have of it."""
    inspected, now = inspect_model(path), datetime.now(UTC)
    version = ModelVersion(
        model_id="00000000-0000-8000-8000-000000000113",
        product=PRODUCT,
        name="benchmark",
        version="profile",
        status=Status.PRODUCTION,
        storage_s3_key=f"sha256/{inspected.sha256}.onnx",
        sha256=inspected.sha256,
        size_bytes=inspected.size_bytes,
        signature=inspected.signature,
        thresholds=Thresholds.from_json(inspected.thresholds),
        metadata=inspected.metadata,
        created_at=now,
        created_by="benchmarks",
        updated_at=now,
    )
    return OnnxModel(version, path)


def _through(cache: ScoreCache, model: OnnxModel, row: Any) -> None:
    key = cache_key(model.cache_key, row)
    if cache.get(key) is None:
        cache.put(key, 0.25)


def _answer(row: Prediction) -> Answer:
    assert row.score is not None
    assert row.decision is not None
    return Answer(row.prediction_id, row.score, row.decision, row.model_id, row.model_version, row.variant, row.cached)


def microseconds(run: Callable[[], object], choose: Callable[[Sequence[float]], float] = statistics.median) -> float:
    """Return the CPU time of one run, chosen from that of several."""
    taken = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        run()
        taken.append(time.thread_time() - started)
    return choose(taken) * 1e6
