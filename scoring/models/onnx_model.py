"""One ONNX model in memory: open, warm up, score."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np

from registry.feed import Row
from registry.model_session import RUNTIME_VERSION, ModelSession
from registry.model_version import ModelVersion
from registry.probability import ScoreArray
from registry.reference import ReferenceRows, spread
from registry.signature import warm_up_rows
from scoring.columns.payloads import PayloadReader
from scoring.decision import Decision, decide
from scoring.errors import ModelUnusable, ReferenceMismatch

log = logging.getLogger("sira.scoring.onnx_model")

# A model that needs longer than this for one row is scored off the event loop, so that other requests do not wait.
INLINE_SECONDS = 0.002
# Consecutive runs that take this much processor time show that warm-up was wrong; a single one may be the machine.
SLOW_RUN_SECONDS = 0.02
_SLOW_RUNS = 3
_WARM_UP_ROUNDS = 5
_FIRST_RUNS = 10


@dataclass(frozen=True, slots=True)
class Run:
    """The result of scoring n rows: one score per row, None where the model raised.

    `seconds` is wall time. `steady` is false for the first runs after a load, which are slower.
    """

    scores: Sequence[float | None]
    seconds: float
    steady: bool


class OnnxModel:
    """A loaded and warmed-up version.

    `row_seconds` is the least processor time seen for one row; `inline` says that it may run on the event loop.
    """

    def __init__(self, version: ModelVersion, path: Path) -> None:
        """Open `path`, whose digest was verified, and warm up; raises ModelUnusable."""
        self.version = version
        # What a score depends on besides the row: one file may be registered with either class as fraud.
        signature = version.signature
        self.cache_key = f"{version.sha256} {signature.output_name} {signature.positive!r}\0".encode()
        try:
            self._session = ModelSession(signature, path)
            self.feed = self._session.feed
            self.payloads = PayloadReader(signature.inputs)
            self.row_seconds = self._warm_up()
        except Exception as error:
            raise ModelUnusable(version.model_id, f"{type(error).__name__} while loading or warming up") from error
        self.inline = self.row_seconds < INLINE_SECONDS
        self._runs = 0
        self._slow_runs = 0

    def score(self, rows: Sequence[Row]) -> ScoreArray:
        """Return the fraud probability of each row, (n,) float64; NaN where the model gave none."""
        return self._session.score(rows)

    def run(self, rows: Sequence[Row]) -> Run:
        """Score n rows. A row on which the model raises gets None; nothing is raised here."""
        steady = self._runs >= _FIRST_RUNS
        self._runs += 1
        started, started_cpu = perf_counter(), thread_time()
        scores: list[float | None]
        try:
            scores = self.score(rows).tolist()
        except Exception:
            log.warning("model_raised", extra={"model_id": self.version.model_id}, exc_info=True)
            scores, steady = self._score_apart(rows), False
        self._slow_runs = self._slow_runs + 1 if thread_time() - started_cpu > SLOW_RUN_SECONDS else 0
        if self._slow_runs >= _SLOW_RUNS:
            self.inline = False
        return Run(scores, perf_counter() - started, steady)

    def _score_apart(self, rows: Sequence[Row]) -> list[float | None]:
        """Score rows in halves after a run of all of them failed, so that only the bad ones get None."""
        if len(rows) == 1:
            return [None]
        scores: list[float | None] = []
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            try:
                scores += self.score(half).tolist()
            except Exception:
                scores += self._score_apart(half)
        return scores

    def decide(self, score: float) -> Decision:
        return decide(score, self.version.thresholds)

    def check_reference(self, reference: ReferenceRows) -> None:
        """Score some of the kept reference rows; raise ReferenceMismatch if one differs from its trainer's score.

        A newer onnxruntime, or another processor, may compute otherwise: no such score may reach traffic.
        """
        assert self.version.reference is not None
        rows = spread(reference.rows)
        scores = self.score([self.feed.row(row.payload) for row in rows])
        off = [abs(float(score) - row.score) for score, row in zip(scores, rows, strict=True)]
        differing = sum(not difference <= self.version.reference.tolerance for difference in off)
        if differing:
            reason = f"{differing} of {len(rows)} reference rows differ from their expected score on {RUNTIME_VERSION}"
            raise ReferenceMismatch(self.version.model_id, f"{reason}; see `python -m registry check`")

    def _warm_up(self) -> float:
        rows = [self.feed.row(payload) for payload in warm_up_rows(self.version.signature.inputs)]
        if np.isnan(self.score(rows)).any():
            raise ValueError("a warm-up score is not a probability")
        seconds = []
        for _ in range(_WARM_UP_ROUNDS):
            started = thread_time()
            self.score(rows[:1])
            seconds.append(thread_time() - started)
        return min(seconds)
