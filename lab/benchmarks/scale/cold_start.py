"""How fast a fresh worker is in its first seconds, compared with the same worker warm."""

import statistics
from collections.abc import Mapping, Sequence

from lab.benchmarks.deployment import BenchDeployment, serving
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.finding import Finding, Row
from lab.benchmarks.scale.workspace import Workspace
from lab.load.closed_loop import ClosedLoop
from lab.load.generator import Summary

# Seconds of load in a row, from the moment that the worker is ready; the last one is called warm.
SPANS: Mapping[str, int] = {
    "first": 1,
    "second": 1,
    "third to fifth": 3,
    "sixth to tenth": 5,
    "settling": 5,
    "warm": 10,
}
FIRST_TEN = ("first", "second", "third to fifth", "sixth to tenth")


def measure(workspace: Workspace) -> Finding:
    starts = 1 if workspace.quick else 5
    loads: dict[str, list[tuple[Summary, float]]] = {span: [] for span in SPANS}
    for number in range(starts):
        workspace.report(f"start {number + 1} of {starts}")
        folder = workspace.folder / str(number)
        folder.mkdir()
        folder.chmod(0o755)
        with serving(workspace.workload, folder) as deployment:
            _drive(deployment, loads)
    rates = {span: statistics.median(load.per_second for load, _ in found) for span, found in loads.items()}
    rows = tuple(_row(span, found, rates["warm"]) for span, found in loads.items() if span != "settling")
    first_ten = sum(rates[span] * SPANS[span] for span in FIRST_TEN) / sum(SPANS[span] for span in FIRST_TEN)
    return Finding(
        "Cold start",
        f"A worker that has just become ready, at full load from 32 connections; medians of {starts} starts. Its"
        " Postgres has just started too.",
        rows,
        (),
        (Goal("first ten seconds, share of the warm rate", 0.9, first_ten / rates["warm"]),),
    )


def _drive(deployment: BenchDeployment, loads: Mapping[str, list[tuple[Summary, float]]]) -> None:
    """Add each span's load, and the processor time of one request in microseconds."""
    running = deployment.running()
    sent = 0
    for span, seconds in SPANS.items():
        before = running.process.cpu_seconds()
        load = ClosedLoop(running.target, seconds, offset=sent).run()
        cpu_us = (running.process.cpu_seconds() - before) * 1e6 / max(load.requests, 1)
        loads[span].append((load, cpu_us))
        sent += load.requests


def _row(span: str, found: Sequence[tuple[Summary, float]], warm_rate: float) -> Row:
    rate = statistics.median(load.per_second for load, _ in found)
    return {
        "seconds": span,
        "requests/s": rate,
        "share of warm": rate / warm_rate,
        "p99 ms": statistics.median(load.p99_ms for load, _ in found),
        "CPU µs/request": statistics.median(cpu_us for _, cpu_us in found),
    }
