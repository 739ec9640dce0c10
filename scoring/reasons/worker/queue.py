"""Explains reviews and blocks after their answers were sent: a bounded queue and a thread of its own.

The thread rests nine times as long as it works, so that it takes at most a tenth of a core from answers.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from registry.feed import Row
from registry.model_version import ModelVersion
from runtime import metrics
from scoring.log.prediction import Prediction, ReasonsRow, copy_text
from scoring.log.spool import Spool
from scoring.reasons.explainers import ExplainedVersion
from scoring.reasons.explanation import Impacts, additive
from scoring.reasons.worker.ready import ReadyExplainers
from scoring.reasons.worker.shares import Shares

log = logging.getLogger("sira.scoring.reasons.queue")

MAX_WAITING = 10_000
# Fields that are stored of a prediction; the API recomputes all of them.
MAX_STORED = 20
PAUSE_SECONDS = 0.2
# Seconds of rest per second of work.
REST = 9.0
# Events that are explained in one piece: a few milliseconds, during which the interpreter switches between threads.
MAX_TOGETHER = 64
# Answers need the spool more than reasons do.
MAX_SPOOL_SHARE = 0.5


class _Waiting(NamedTuple):
    version: ModelVersion
    row: Row
    prediction: Prediction


class ReasonsQueue:
    """`offer` is called for every answer, on the event loop; the thread explains and spools what is wanted."""

    def __init__(
        self,
        ready: ReadyExplainers,
        spool: Spool,
        shares: Shares,
        *,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.ready = ready
        self._spool = spool
        self._wanted = shares.wanted
        self._waiting: deque[_Waiting] = deque(maxlen=max_waiting)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reasons", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Discard what waits: it can be recomputed from the log at any time."""
        self._stopping.set()
        self._thread.join(timeout_seconds)

    def offer(self, version: ModelVersion, row: Row, prediction: Prediction) -> None:
        """Queue an answered prediction if its reasons are wanted; a full queue drops the oldest."""
        decision = prediction.decision
        if decision is None or not self._wanted(prediction.product, decision, prediction.prediction_id):
            return
        waiting = self._waiting
        if len(waiting) == waiting.maxlen:
            _dropped(waiting[0], "queue_full")
        waiting.append(_Waiting(version, row, prediction))

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            try:
                self.ready.open_served()
            except Exception:
                log.exception("reasons_failed")
            taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
            groups: dict[str, list[_Waiting]] = {}
            for item in taken:
                groups.setdefault(item.version.model_id, []).append(item)
            for group in groups.values():
                try:
                    self._explain(group)
                except Exception:
                    log.exception("reasons_failed", extra={"model_id": group[0].version.model_id})
                    _drop(group, "failed")

    def _explain(self, group: Sequence[_Waiting]) -> None:
        explained = self.ready.open(group[0].version)
        if explained is None:
            _drop(group, "not_available")
            return
        for part in _parts(group, 1 if explained.explainer.method == "sampled" else MAX_TOGETHER):
            if self._stopping.is_set():
                return
            started = time.thread_time()
            if self._spool.waiting_bytes > MAX_SPOOL_SHARE * self._spool.limit_bytes:
                _drop(part, "spool_full")
            else:
                self._store(explained, part)
            self._stopping.wait(REST * (time.thread_time() - started))

    def _store(self, explained: ExplainedVersion, part: Sequence[_Waiting]) -> None:
        product, started = part[0].prediction.product, time.perf_counter()
        impacts = explained.explainer.explain(
            [item.row for item in part], [item.prediction.prediction_id for item in part]
        )
        metrics.observe_reasons(product, impacts.method, time.perf_counter() - started, len(part))
        good = additive(impacts, [item.prediction.score for item in part]).tolist()
        if wrong := good.count(False):
            metrics.reasons_not_additive.labels(product).inc(wrong)
        rows = [_row(explained, impacts, place, item) for place, item in enumerate(part) if good[place]]
        if rows:
            self._spool.append("reasons", copy_text(rows), len(rows), time.time(), lambda error: None)


def _row(explained: ExplainedVersion, impacts: Impacts, place: int, item: _Waiting) -> ReasonsRow:
    prediction = item.prediction
    assert prediction.decision is not None
    reasons = explained.reasons(impacts, place, item.row, MAX_STORED)
    return ReasonsRow(
        prediction_id=prediction.prediction_id,
        created_at=prediction.created_at,
        product=prediction.product,
        model_id=prediction.model_id,
        decision=prediction.decision,
        background_sha256=explained.background.sha256,
        method=impacts.method,
        scale=impacts.scale,
        base=impacts.base,
        reasons=msgspec.json.encode(reasons).decode(),
    )


def _parts(items: Sequence[_Waiting], size: int) -> Iterator[Sequence[_Waiting]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _drop(items: Sequence[_Waiting], reason: str) -> None:
    for item in items:
        _dropped(item, reason)


def _dropped(item: _Waiting, reason: str) -> None:
    metrics.reasons_dropped.labels(item.prediction.product, reason).inc()
