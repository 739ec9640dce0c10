"""The tail at 70 % of what one core gives: open loop, minutes long, a promote in the middle."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.benchmarks import open_loop, others, wrk
from lab.benchmarks.model import Workload
from lab.benchmarks.open_loop import Recording, Schedule
from lab.benchmarks.served import Sira, serving

SHARE_OF_LIMIT = 0.7
WARM_UP_SECONDS, LIMIT_SECONDS = 3.0, 10.0
CHECK_SECONDS = 10.0
PROMOTE_WINDOW_SECONDS = 2.0  # around the promote, in which it must not show


@dataclass(frozen=True)
class Tail:
    """Milliseconds from when a request was due until its answer."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True)
class LatencyRun:
    limit_per_second: float
    rate: float
    seconds: float
    requests: int
    failed: int
    tail: Tail
    promoted_at_seconds: float
    around_promote: Tail
    generator: Tail
    """The same generator at the same rate against an empty answer: what of the figures above is its own."""
    generator_cpu: float
    """Share of its core that the generator used in the run, in [0, 1]; near 1 it would be the bottleneck."""


def run(workload: Workload, minutes: float, folder: Path, say: Callable[[str], None]) -> tuple[LatencyRun, Recording]:
    with serving(workload, folder) as sira:
        say(f"finding the limit: {LIMIT_SECONDS:.0f} s of wrk")
        warm_up = wrk.drive(sira.running().target, WARM_UP_SECONDS)
        measured = wrk.drive(sira.running().target, LIMIT_SECONDS, offset=warm_up.requests)
        sira.server.quiesce()
        limit = measured.per_second
        schedule = Schedule(SHARE_OF_LIMIT * limit, minutes * 60, offset=warm_up.requests + measured.requests)
        say(f"{schedule.rate:,.0f} requests/s for {minutes:g} minutes, a promote in the middle")
        recording, promoted_at = _recorded(sira, schedule, folder)
    say("checking the generator against an empty answer")
    generator = _against_nothing(workload, Schedule(schedule.rate, CHECK_SECONDS), folder)
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
    """Percentiles of (n,) seconds; a request without an answer (NaN) counts as slower than any."""
    if not latency.size:
        return Tail(*[float("nan")] * 5)
    milliseconds = np.where(np.isnan(latency), np.inf, latency) * 1e3
    return Tail(*np.percentile(milliseconds, [50, 95, 99, 99.9, 100], method="higher").tolist())


def lines(run: LatencyRun) -> str:
    """What was found, for people."""
    rows = {"all": run.tail, f"{PROMOTE_WINDOW_SECONDS:g} s around the promote": run.around_promote}
    rows["the generator alone"] = run.generator
    told = [
        f"{run.requests:,} requests at {run.rate:,.0f}/s ({SHARE_OF_LIMIT:.0%} of {run.limit_per_second:,.0f}/s),"
        f" {run.failed:,} failed; the generator used {run.generator_cpu:.0%} of its core",
        f"{'milliseconds':28}{'p50':>8}{'p95':>8}{'p99':>8}{'p99.9':>8}{'max':>8}",
    ]
    told += [
        f"{name:28}{one.p50_ms:8.2f}{one.p95_ms:8.2f}{one.p99_ms:8.2f}{one.p999_ms:8.2f}{one.max_ms:8.2f}"
        for name, one in rows.items()
    ]
    return "\n".join(told)


def _recorded(sira: Sira, schedule: Schedule, folder: Path) -> tuple[Recording, float]:
    """Drives, and half-way promotes the other version; also when that was, in seconds from the start."""
    generator = open_loop.drive_apart(sira.running().target, schedule, folder)
    try:
        time.sleep(schedule.seconds / 2)
        promoted = time.monotonic()
        sira.control.post(f"/v1/models/{sira.models['canary']}/promote", {"target": "production"})
        if generator.wait(schedule.seconds + open_loop.GRACE_SECONDS + 30):
            raise RuntimeError(f"the generator ended with {generator.returncode}")
    finally:
        generator.kill()
        generator.wait()
    recording = open_loop.collect(folder)
    return recording, promoted - recording.started


def _against_nothing(workload: Workload, schedule: Schedule, folder: Path) -> Recording:
    empty = next(one for one in others.contenders() if one.name == "uvicorn_empty")
    home = folder / empty.name
    home.mkdir()
    with empty.start(workload, home) as running:
        return open_loop.drive(running.target, schedule)


def by_second(
    recording: Recording, rate: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(seconds, p50, p99) per second of due time, (n,) each, in milliseconds; unanswered requests left out."""
    ends = np.arange(rate, recording.latency.size, rate).astype(int)
    groups = [group[~np.isnan(group)] * 1e3 for group in np.split(recording.latency, ends)]
    kept = [(float(second), *np.percentile(group, [50, 99])) for second, group in enumerate(groups) if group.size]
    columns = np.array(kept).T
    return columns[0], columns[1], columns[2]
