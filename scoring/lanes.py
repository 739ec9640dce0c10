"""Scoring off the event loop, for slow models: one run at a time per model; waiting rows share the next run."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from registry.feed import Row
from scoring.models.onnx_model import OnnxModel, Run

Done = Callable[[Run], None]
_Submission = tuple[Sequence[Row], Done]

MAX_ROWS = 64
_THREADS = 8


class Lanes:
    """One lane per model. `done(run)` is called on the event loop with the scores of the submitted rows."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="slow-model")
        self._waiting: dict[OnnxModel, list[_Submission]] = {}
        self._closed = False

    def submit(self, model: OnnxModel, rows: Sequence[Row], done: Done) -> None:
        """Queue rows for a model. A model that never returns blocks only its own lane."""
        if model in self._waiting:
            self._waiting[model].append((rows, done))
        else:
            self._waiting[model] = [(rows, done)]
            self._start(model)

    def close(self) -> None:
        """Discard the results of runs that are still in progress."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, model: OnnxModel) -> None:
        waiting = self._waiting[model]
        taken: list[_Submission] = []
        count = 0
        while waiting and (not taken or count + len(waiting[0][0]) <= MAX_ROWS):
            taken.append(waiting.pop(0))
            count += len(taken[-1][0])

        def returned(future: "Future[Run]") -> None:
            if self._closed:
                return
            self._loop.call_soon_threadsafe(self._finish, model, taken, future.result())

        rows = [row for submission, _ in taken for row in submission]
        self._threads.submit(model.run, rows).add_done_callback(returned)

    def _finish(self, model: OnnxModel, taken: list[_Submission], run: Run) -> None:
        if self._waiting[model]:
            self._start(model)
        else:
            del self._waiting[model]
        first = 0
        for rows, done in taken:
            end = first + len(rows)
            done(Run(run.scores[first:end], run.seconds, run.steady))
            first = end
