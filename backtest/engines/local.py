"""One process per core; each takes the next part when it is done with one."""

import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

import pyarrow as pa

from backtest.errors import BacktestError
from backtest.replay import ReplayTask, replay
from backtest.sources.parts import LogPart
from backtest.tally.sums import SCHEMA, Sums

ReplayProgress = Callable[[int], None]
"""Called with the rows that were read since the last call."""

# Serving processes of the same machine go first.
_NICENESS = 10


class ProcessDied(BacktestError):
    def __init__(self, exit_code: int | None) -> None:
        super().__init__(f"a process of the backtest ended with {exit_code}: was it out of memory?")


class ReplayFailed(BacktestError):
    """A process raised; the message is its error."""


def run_locally(task: ReplayTask, parts: Sequence[LogPart], processes: int, progress: ReplayProgress) -> Sums:
    """Replay the parts, the largest first; raises BacktestError."""
    total = Sums()

    def received(batch: pa.RecordBatch) -> None:
        for sums in Sums.from_batch(batch):
            total.add(sums)
            progress(sums.counts.get("events", 0))

    ordered = sorted(parts, key=lambda part: -part.rows)
    context = multiprocessing.get_context("spawn")
    waiting, results = context.Queue(), context.Queue()
    for part in ordered:
        waiting.put(part)
    count = min(processes, len(ordered))
    for _ in range(count):
        waiting.put(None)
    workers = [context.Process(target=_work, args=(task, waiting, results), daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    try:
        running = count
        while running:
            message = _next(results, workers)
            if message is None:
                running -= 1
            elif isinstance(message, str):
                raise ReplayFailed(message)
            else:
                received(pa.record_batch([pa.array([message], pa.binary())], schema=SCHEMA))
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    return total


def _next(results: Any, workers: Sequence[BaseProcess]) -> bytes | str | None:
    """Return sums, an error, or None when a process has ended."""
    while True:
        try:
            message: bytes | str | None = results.get(timeout=1.0)
            return message
        except queue.Empty:
            for worker in workers:
                if worker.exitcode:
                    raise ProcessDied(worker.exitcode) from None


def _work(task: ReplayTask, waiting: Any, results: Any) -> None:
    os.nice(_NICENESS)
    try:
        while (part := waiting.get()) is not None:
            for batch in replay(task, part.batches(task.columns)):
                results.put(batch["sums"][0].as_py())
        results.put(None)
    except Exception as error:
        results.put((str(error).strip().splitlines() or [type(error).__name__])[0])
