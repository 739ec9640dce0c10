"""A command that runs alone, with the time and the memory that it took."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab import procfs
from lab.benchmarks.scale.finding import MeasurementFailed

# How often the memory of the processes is read.
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class ChildRun:
    """`peak_mib`: of the largest process. `cpu_seconds`: user and kernel time of all processes.

    `elsewhere`: the share of the machine's time that other processes used meanwhile.
    """

    output: str
    seconds: float
    cpu_seconds: float
    peak_mib: float
    elsewhere: float


def run_child(words: Sequence[str], settings: Mapping[str, str]) -> ChildRun:
    """Run `python -m` with these words on all cores; raises MeasurementFailed if it fails."""
    cores = os.cpu_count() or 1
    peaks: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started, spent, busy = time.perf_counter(), _spent(), _busy(cores)
        process = subprocess.Popen(
            ["taskset", "--cpu-list", f"0-{cores - 1}", sys.executable, "-m", *words],
            env=os.environ | settings, stdout=output, stderr=errors,
        )  # fmt: skip
        while process.poll() is None:
            for pid in _family(process.pid):
                peaks[pid] = max(procfs.peak_mib(pid), peaks.get(pid, 0.0))
            time.sleep(_LOOK_SECONDS)
        seconds, cpu = time.perf_counter() - started, _spent() - spent
        others = _busy(cores) - busy - cpu
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise MeasurementFailed(f"{' '.join(words[:2])} failed: {errors.read().strip().splitlines()[-1:]}")
        text = output.read()
    return ChildRun(text, seconds, cpu, max(peaks.values()), max(0.0, others / (cores * seconds)))


def _family(pid: int) -> set[int]:
    parents = procfs.parents()
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy(cores: int) -> float:
    return sum(procfs.core_busy_seconds(core) for core in range(cores))
