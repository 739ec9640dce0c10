"""Apache Spark: the same function in `mapInArrow`, the labels and the artifact broadcast, and no shuffle.

Needs pyspark (`pip install 'sira-inference[spark]'`), Java 17, and executors that have this package.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from backtest.engines.local import ReplayProgress
from backtest.errors import BacktestError
from backtest.replay import ReplayTask, replay
from backtest.run import with_bytes
from backtest.sources.parts import ArchivedPart, LogPart, PartFile
from backtest.tally.sums import Sums

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SUMS = "sums binary"


class SparkMissing(BacktestError):
    def __init__(self) -> None:
        super().__init__("--engine spark needs pyspark and Java 17: pip install 'sira-inference[spark]'")


class DaysNotArchived(BacktestError):
    def __init__(self, days: Sequence[object]) -> None:
        named = ", ".join(map(str, days))
        super().__init__(
            f"Spark reads the archive, and these days are not in it: {named}; `python -m archive run` archives closed"
            " days, --until chooses an earlier last day"
        )


@dataclass(frozen=True, slots=True)
class SparkEngine:
    """`master` as Spark names it: local[2], spark://..., k8s://https://..."""

    master: str

    def __call__(self, task: ReplayTask, parts: Sequence[LogPart], progress: ReplayProgress) -> Sums:
        """Replay archived parts; raises SparkMissing, DaysNotArchived and BacktestError."""
        missing = sorted({part.day for part in parts if not isinstance(part, ArchivedPart | PartFile)})
        if missing:
            raise DaysNotArchived(missing)
        session = _session(self.master)
        try:
            return _replayed(session, with_bytes(task), parts, progress)
        finally:
            session.stop()


def _session(master: str) -> "SparkSession":
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise SparkMissing from None
    builder = SparkSession.builder.master(master).appName("sira-backtest")
    if master.startswith("local"):
        # Workers of this machine run this interpreter, and find this package where this process did.
        os.environ["PYSPARK_PYTHON"] = sys.executable
        builder = builder.config("spark.executorEnv.PYTHONPATH", str(Path(__file__).parents[2]))
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    return builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false").getOrCreate()


def _replayed(session: "SparkSession", task: ReplayTask, parts: Sequence[LogPart], progress: ReplayProgress) -> Sums:
    shared = session.sparkContext.broadcast((task.artifact, task.label_keys))
    bare = replace(task, artifact=b"", label_keys=None)
    numbers: DataFrame = session.range(0, len(parts), 1, len(parts)).selectExpr("cast(id AS int) AS part")
    by_number = dict(enumerate(parts))

    # An executor fetches each part itself, as a process of the local engine does, and verifies its digest.
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        artifact, label_keys = shared.value
        whole = replace(bare, artifact=artifact, label_keys=label_keys)
        for batch in batches:
            for number in batch["part"].to_pylist():
                yield from replay(whole, by_number[number].batches(whole.columns))

    total = Sums()
    rows: Any = numbers.mapInArrow(run, _SUMS).toLocalIterator(prefetchPartitions=True)
    for row in rows:
        for sums in Sums.from_batch(pa.record_batch([pa.array([bytes(row["sums"])], pa.binary())], names=["sums"])):
            total.add(sums)
            progress(sums.counts.get("events", 0))
    return total
