"""A backtest from its request to its report."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter

import numpy as np

from backtest.engines.local import ReplayProgress, run_locally
from backtest.errors import NoEvents
from backtest.figures.costs import CostTable, read_costs
from backtest.figures.description import BacktestReport
from backtest.figures.report import BacktestSpan, make_report
from backtest.replay import ReplayTask
from backtest.request import BacktestToRun
from backtest.sources.archived_fields import check_fields
from backtest.sources.labels import read_labels
from backtest.sources.parts import LogPart, find_parts
from backtest.tally.sums import Sums
from registry.artifacts import open_store
from registry.store import production_of, resolve
from runtime.postgres import Connection

Engine = Callable[[ReplayTask, Sequence[LogPart], ReplayProgress], Sums]


@dataclass(frozen=True)
class Prepared:
    """Everything that an engine needs; the artifact and the labels are files in a folder of the caller."""

    span: BacktestSpan
    task: ReplayTask
    parts: Sequence[LogPart]
    costs: CostTable | None

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


@dataclass(frozen=True)
class Finished:
    """A report, and how long its replay took."""

    report: BacktestReport
    seconds: float


def local_engine(processes: int) -> Engine:
    return lambda task, parts, progress: run_locally(task, parts, processes, progress)


@contextmanager
def prepared(
    connection: Connection,
    request: BacktestToRun,
    *,
    database_url: str,
    model_bucket: str,
    maturity_days: float,
    now: datetime,
) -> Iterator[Prepared]:
    """Find the version, its artifact, the labels and the parts of the log.

    Raises what those raise, BacktestError, and InputInvalid for a field that no event has. `maturity_days` is used
    unless the request has its own.
    """
    costs = read_costs(request.cost)
    since, until = request.period(now)
    model = resolve(connection, request.model_id)
    parts = find_parts(
        connection,
        database_url=database_url,
        model_bucket=model_bucket,
        product=model.product,
        since=since,
        until=until,
    )
    if not parts:
        raise NoEvents(model.product, since, until)
    check_fields(connection, request, model.product, since, until, parts)
    maturity = maturity_days if request.maturity_days is None else request.maturity_days
    span = BacktestSpan(
        model,
        production_of(connection, model.product),
        since,
        until,
        now - timedelta(days=maturity),
        request.unlabelled_are_legitimate,
        request.amount_field,
    )
    with tempfile.TemporaryDirectory(prefix="sira-backtest-") as folder:
        artifact = open_store(model_bucket).fetch(model.storage_s3_key, model.sha256, model.size_bytes, Path(folder))
        label_file = Path(folder, "labels.npy")
        with connection.transaction():  # a cursor needs one
            np.save(label_file, read_labels(connection, model.product, now))
        task = ReplayTask(
            model.signature,
            model.thresholds,
            model.model_id,
            span.production.model_id if span.production else None,
            artifact,
            label_file,
            int(span.matured_before.timestamp() * 1e6),
            request.amount_field,
            tuple(dict.fromkeys(request.segments)),
        )
        yield Prepared(span, task, parts, costs)


def execute(work: Prepared, engine: Engine, progress: ReplayProgress) -> Finished:
    """Replay, and return the report; raises BacktestError."""
    started = perf_counter()
    sums = engine(work.task, work.parts, progress)
    if not sums.counts.get("events"):
        raise NoEvents(work.span.model.product, work.span.since, work.span.until)
    return Finished(make_report(work.span, sums, work.costs), perf_counter() - started)


def with_bytes(task: ReplayTask) -> ReplayTask:
    """Return a task that holds its files' contents, for machines that do not share this one's disk."""
    assert isinstance(task.artifact, Path)
    return replace(task, artifact=task.artifact.read_bytes(), label_keys=np.load(task.label_keys))
