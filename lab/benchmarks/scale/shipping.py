"""Full load from the socket to Postgres: what rate the shipper sustains, and how long it needs afterwards."""

import threading
import time
from dataclasses import dataclass

from lab.benchmarks.deployment import BenchDeployment, serving
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth
from lab.benchmarks.scale.workspace import Workspace
from lab.load.closed_loop import ClosedLoop
from runtime.postgres import connect

MAX_DRAIN_SECONDS = 300.0


@dataclass
class Backlog:
    """The largest backlog that was sampled under load."""

    rows: float = 0.0
    oldest_seconds: float = 0.0


def measure(workspace: Workspace) -> Finding:
    with serving(workspace.workload, workspace.folder) as deployment:
        ClosedLoop(deployment.running().target, 2).run()
        _await_drained(deployment)
        rows = tuple(_row(workspace, deployment, seconds) for seconds in ((2, 6) if workspace.quick else (5, 15, 45)))
    return Finding(
        "The log at full rate",
        "One worker on core 0, 32 connections; Postgres (default settings, fsync on), the controller and wrk on core 1."
        " Every answer counted by wrk is in Postgres afterwards.",
        rows,
        (growth(rows, "seconds of load", "answered/s", "oldest waiting s", "s to drain"),),
    )


def _row(workspace: Workspace, deployment: BenchDeployment, seconds: int) -> Row:
    workspace.report(f"{seconds} seconds of load")
    logged, shipped = _logged(deployment), deployment.metric("sira_log_shipped_total")
    stop = threading.Event()
    backlog = Backlog()
    sampler = threading.Thread(target=_sample, args=(deployment, backlog, stop))
    sampler.start()
    load = ClosedLoop(deployment.running().target, seconds).run()
    shipped = deployment.metric("sira_log_shipped_total") - shipped
    stop.set()
    sampler.join()
    drain_seconds = _await_drained(deployment)
    arrived = _logged(deployment) - logged
    if load.errors or arrived < load.requests:
        raise MeasurementFailed(f"{load.errors} requests failed, {load.requests - arrived} answers are not in the log")
    return {
        "seconds of load": seconds,
        "answered/s": load.per_second,
        "shipped/s meanwhile": shipped / load.seconds,
        "most rows waiting": int(backlog.rows),
        "oldest waiting s": backlog.oldest_seconds,
        "s to drain": drain_seconds,
    }


def _sample(deployment: BenchDeployment, backlog: Backlog, stop: threading.Event) -> None:
    while not stop.wait(0.5):
        backlog.rows = max(backlog.rows, deployment.metric("sira_log_spool_rows"))
        oldest = deployment.metric("sira_log_oldest_unshipped_seconds")
        backlog.oldest_seconds = max(backlog.oldest_seconds, oldest)


def _await_drained(deployment: BenchDeployment) -> float:
    """Wait until the spool is empty; return the seconds it took."""
    started = time.monotonic()
    while time.monotonic() - started < MAX_DRAIN_SECONDS:
        time.sleep(0.25)  # the shipper publishes after each round
        if not deployment.metric("sira_log_spool_rows"):
            return time.monotonic() - started
    raise MeasurementFailed(f"the spool is not empty after {MAX_DRAIN_SECONDS:.0f} s")


def _logged(deployment: BenchDeployment) -> int:
    with connect(deployment.database_url, name="benchmarks") as connection:
        found = connection.execute("SELECT sum(predictions) FROM sira_prediction_hours").fetchone()
    return int(found[0] or 0) if found else 0
