"""Tail latency at 70 % of what one core answers: open loop, for minutes, with a promotion in the middle."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.benchmarks import others
from lab.benchmarks.deployment import BenchDeployment, serving
from lab.benchmarks.model import Workload
from lab.load.closed_loop import ClosedLoop
from lab.load.generator import Target
from lab.load.open_loop import OpenLoop, Recording, Schedule

SHARE_OF_LIMIT = 0.7
WARM_UP_SECONDS, LIMIT_SECONDS = 3.0, 10.0
CHECK_SECONDS = 10.0
PROMOTE_WINDOW_SECONDS = 2.0  # around the promotion, which must not be visible in it


@dataclass(frozen=True)
class Tail:
    """Quantiles in milliseconds from when a request was due until its answer."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True)
class LatencyRun:
    """`generator`: the generator at the same rate against an empty answer, its own share of the figures above.

    `generator_cpu`: share of its core that the generator used in the run, in [0, 1]; near 1 it is the bottleneck.
    """

    limit_per_second: float
    rate: float
    seconds: float
    requests: int
    failed: int
    tail: Tail
    promoted_at_seconds: float
    around_promote: Tail
    generator: Tail
    generator_cpu: float


def run(
    workload: Workload, minutes: float, folder: Path, report: Callable[[str], None]
) -> tuple[LatencyRun, Recording]:
    """Measure the limit with wrk, then the latency at a constant rate below it."""
    with serving(workload, folder) as deployment:
        report(f"measuring the limit: {LIMIT_SECONDS:.0f} s of wrk")
        target = deployment.running().target
        warm_up = ClosedLoop(target, WARM_UP_SECONDS).run()
        measured = ClosedLoop(target, LIMIT_SECONDS, offset=warm_up.requests).run()
        deployment.process.quiesce()
        limit = measured.per_second
        schedule = Schedule(SHARE_OF_LIMIT * limit, minutes * 60, offset=warm_up.requests + measured.requests)
        report(f"{schedule.rate:,.0f} requests/s for {minutes:g} minutes, a promotion in the middle")
        recording, promoted_at = _record(deployment, target, schedule, folder)
    report("checking the generator against an empty answer")
    generator = _record_empty_answers(workload, Schedule(schedule.rate, CHECK_SECONDS), folder)
    return summary(limit, schedule, recording, promoted_at, generator), recording


def summary(
    limit: float, schedule: Schedule, recording: Recording, promoted_at: float, generator: Recording
) -> LatencyRun:
    due = np.arange(schedule.requests) / schedule.rate
    near = np.abs(due - promoted_at) <= PROMOTE_WINDOW_SECONDS / 2
    return LatencyRun(
        limit_per_second=limit,
        rate=schedule.rate,
        seconds=schedule.seconds,
        requests=schedule.requests,
        failed=recording.failed,
        tail=tail(recording.latency),
        promoted_at_seconds=promoted_at,
        around_promote=tail(recording.latency[near]),
        generator=tail(generator.latency),
        generator_cpu=recording.cpu,
    )


def tail(latency: NDArray[np.float64]) -> Tail:
    """Return quantiles of (n,) seconds; a request without an answer (NaN) counts as slower than any other."""
    if not latency.size:
        return Tail(*[float("nan")] * 5)
    milliseconds = np.where(np.isnan(latency), np.inf, latency) * 1e3
    return Tail(*np.percentile(milliseconds, [50, 95, 99, 99.9, 100], method="higher").tolist())


def lines(run: LatencyRun) -> str:
    """Format the run for a terminal."""
    rows = {"all": run.tail, f"{PROMOTE_WINDOW_SECONDS:g} s around the promotion": run.around_promote}
    rows["the generator alone"] = run.generator
    text = [
        f"{run.requests:,} requests at {run.rate:,.0f}/s ({SHARE_OF_LIMIT:.0%} of {run.limit_per_second:,.0f}/s),"
        f" {run.failed:,} failed; the generator used {run.generator_cpu:.0%} of its core",
        f"{'milliseconds':28}{'p50':>8}{'p95':>8}{'p99':>8}{'p99.9':>8}{'max':>8}",
    ]
    text += [
        f"{name:28}{one.p50_ms:8.2f}{one.p95_ms:8.2f}{one.p99_ms:8.2f}{one.p999_ms:8.2f}{one.max_ms:8.2f}"
        for name, one in rows.items()
    ]
    return "\n".join(text)


def _record(deployment: BenchDeployment, target: Target, schedule: Schedule, folder: Path) -> tuple[Recording, float]:
    """Send load and promote the other version half-way; return also the seconds from the start to the promotion."""
    with OpenLoop(target, schedule, folder) as load:
        time.sleep(schedule.seconds / 2)
        promoted = time.monotonic()
        deployment.operator.post(f"/v1/models/{deployment.models['canary']}/promote", {"target": "production"})
        recording = load.recording()
    return recording, promoted - recording.started


def _record_empty_answers(workload: Workload, schedule: Schedule, folder: Path) -> Recording:
    empty = next(one for one in others.contenders() if one.name == "uvicorn_empty")
    home = folder / empty.name
    home.mkdir()
    with empty.start(workload, home) as running, OpenLoop(running.target, schedule, home) as load:
        return load.recording()


def by_second(
    recording: Recording, rate: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (seconds, p50, p99) per second of due time, (n,) each, in milliseconds, without unanswered requests."""
    ends = np.arange(rate, recording.latency.size, rate).astype(int)
    groups = [group[~np.isnan(group)] * 1e3 for group in np.split(recording.latency, ends)]
    kept = [(float(second), *np.percentile(group, [50, 99])) for second, group in enumerate(groups) if group.size]
    columns = np.array(kept).T
    return columns[0], columns[1], columns[2]
