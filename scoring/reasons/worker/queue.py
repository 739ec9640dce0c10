"""Explains reviews and blocks after their answers were sent: a bounded queue and a thread of its own.

The thread rests nine times as long as it works, so that it takes at most a tenth of a core from answers.
"""

import logging
import math
import threading
import time
from collections.abc import Sequence
from functools import partial

import msgspec

from registry.feed import Row
from registry.model_version import ModelVersion
from runtime import metrics
from scoring.log.prediction import Prediction, ReasonsRow, copy_text
from scoring.log.spool import Spool
from scoring.reasons.description import FieldReason
from scoring.reasons.explainers import ExplainedVersion
from scoring.reasons.explanation import Impacts, additive
from scoring.reasons.worker.ready import ReadyExplainers
from scoring.reasons.worker.shares import Shares
from scoring.reasons.worker.waiting import WaitingPrediction, WaitingPredictions

log = logging.getLogger("sira.scoring.reasons.queue")

MAX_WAITING = 10_000
# The most fields stored per prediction; the API recomputes the full list.
MAX_STORED = 5
# Long enough to explain and ship many together.
PAUSE_SECONDS = 0.5
# Seconds of rest per second of work.
REST = 9.0
# Events that are explained in one piece: a few milliseconds, during which the interpreter switches between threads.
MAX_TOGETHER = 128
# Above this share of the spool, reasons are dropped to leave room for answers.
MAX_SPOOL_SHARE = 0.5
# Seconds beyond the timeout of `stop`, to finish the group in progress.
JOIN_SECONDS = 1.0


class ReasonsQueue:
    """`offer` is called for every answer, on the event loop; the thread explains and spools what is wanted."""

    def __init__(self, ready: ReadyExplainers, spool: Spool, shares: Shares, *, max_waiting: int = MAX_WAITING) -> None:
        self.ready = ready
        self._spool = spool
        self._wanted = shares.wanted
        self.may_want = shares.may_want
        self._waiting = WaitingPredictions(max_waiting, partial(_dropped, reason="queue_full"))
        self._stopping = threading.Event()
        self._ends_at = math.inf
        self._thread = threading.Thread(target=self._run, name="reasons", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Explain what waits, without rests, within the timeout; the rest can be recomputed from the log."""
        self._ends_at = time.monotonic() + timeout_seconds
        self._stopping.set()
        self._thread.join(timeout_seconds + JOIN_SECONDS)

    def offer(self, version: ModelVersion, row: Row, prediction: Prediction) -> None:
        """Queue an answered prediction if its reasons are wanted; a full queue drops the oldest."""
        decision = prediction.decision
        if decision is not None and self._wanted(prediction.product, decision, prediction.prediction_id):
            self._waiting.add(WaitingPrediction(version, row, prediction))

    def _run(self) -> None:
        while True:
            stopping = self._stopping.wait(PAUSE_SECONDS)
            if not stopping:
                self._prepare()
            self._explain_waiting()
            if stopping:
                for product in self._waiting.counts():
                    _drop(self._waiting.take(product, MAX_WAITING), "stopped")
                return

    def _explain_waiting(self) -> None:
        """Explain what waits now. What arrives meanwhile waits for the next pause: small groups cost several times more
        per event."""
        left = self._waiting.counts()
        while left and time.monotonic() < self._ends_at:
            for product in list(left):
                left[product] -= self._take_turn(product)
                if left[product] <= 0 or self._waiting.oldest(product) is None:
                    del left[product]

    def _prepare(self) -> None:
        started = time.thread_time()
        try:
            self.ready.open_served()
        except Exception:
            log.exception("reasons_failed")
        self._stopping.wait(REST * (time.thread_time() - started))

    def _take_turn(self, product: str) -> int:
        """Explain a product's oldest predictions together, or a single one, if its model is explained by sampling.

        Returns their number.
        """
        first = self._waiting.oldest(product)
        if first is None:
            return 0
        explained = self.ready.open(first.version)
        sampled = explained is not None and explained.explainer.method == "sampled"
        groups: dict[str, list[WaitingPrediction]] = {}
        taken = self._waiting.take(product, 1 if sampled else MAX_TOGETHER)
        for item in taken:
            groups.setdefault(item.version.model_id, []).append(item)
        for group in groups.values():
            started = time.thread_time()
            try:
                self._explain(group)
            except Exception:
                log.exception("reasons_failed", extra={"model_id": group[0].version.model_id})
                _drop(group, "failed")
            self._stopping.wait(REST * (time.thread_time() - started))
        return len(taken)

    def _explain(self, group: Sequence[WaitingPrediction]) -> None:
        explained = self.ready.open(group[0].version)
        if explained is None:
            _drop(group, "not_available")
        elif self._spool.waiting_bytes > MAX_SPOOL_SHARE * self._spool.limit_bytes:
            _drop(group, "spool_busy")
        else:
            self._store(explained, group)

    def _store(self, explained: ExplainedVersion, group: Sequence[WaitingPrediction]) -> None:
        product, started = explained.version.product, time.perf_counter()
        values, ids = [item.row for item in group], [item.prediction.prediction_id for item in group]
        impacts = explained.explainer.explain(values, ids)
        metrics.observe_reasons(product, impacts.method, time.perf_counter() - started, len(group))
        good = additive(impacts, [item.prediction.score for item in group]).tolist()
        if wrong := good.count(False):
            metrics.reasons_not_additive.labels(product).inc(wrong)
        reasons = explained.reasons(impacts, values, MAX_STORED)
        rows = [
            _row(explained, impacts, item.prediction, its_reasons)
            for item, its_reasons, is_good in zip(group, reasons, good, strict=True)
            if is_good
        ]
        if rows:
            # Errors are ignored: answers meet the same ones and report them, and reasons can be recomputed.
            self._spool.append("reasons", copy_text(rows), len(rows), time.time(), lambda error: None)


def _row(
    explained: ExplainedVersion, impacts: Impacts, prediction: Prediction, reasons: Sequence[FieldReason]
) -> ReasonsRow:
    assert prediction.decision is not None
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


def _drop(items: Sequence[WaitingPrediction], reason: str) -> None:
    for item in items:
        _dropped(item, reason)


def _dropped(item: WaitingPrediction, reason: str) -> None:
    metrics.reasons_dropped.labels(item.prediction.product, reason).inc()
