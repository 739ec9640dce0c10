"""What each thread of a worker spends on a request under full load, through ASGI and straight from the socket."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks.contender import EVENT_HEAD, Running, event_tail
from lab.benchmarks.model import Workload
from lab.benchmarks.process import Server, free_port, thread_seconds
from lab.benchmarks.profile.worker import PROTOCOLS
from lab.benchmarks.scale.drive import Driver
from lab.benchmarks.served import REPOSITORY, Sira, serving
from lab.benchmarks.wrk import Target, write_bodies

THREADS = ("MainThread", "spool-writer", "shipper")  # the first is the event loop
Times = tuple[float, float]  # user, kernel


@dataclass(frozen=True)
class Spent:
    """Microseconds of processor time a request, by thread. `batch` is events a model run."""

    per_second: float
    batch: float
    threads: Mapping[str, Times]

    @property
    def total(self) -> float:
        return sum(map(sum, self.threads.values()))


def measure(workload: Workload, folder: Path, seconds: float) -> dict[str, Spent]:
    """By protocol; the same load on each, until the worker rests again."""
    return {protocol: _spent(workload, folder / protocol, protocol, seconds) for protocol in sorted(PROTOCOLS)}


def http_alone(workload: Workload, folder: Path, seconds: float) -> Times:
    """Microseconds of a request, (user, kernel), when the answer is there at once."""
    port = free_port()
    command = [sys.executable, "-m", "lab.benchmarks.profile.http_alone", str(port)]
    bodies = write_bodies(folder / "bodies", map(event_tail, workload.payloads))
    with Server("http_alone", command, cwd=REPOSITORY, env={}, log=folder / "http_alone.log") as server:
        base = f"http://127.0.0.1:{port}"
        server.wait_ready(base)
        driver, running = Driver(), Running(server, Target(f"{base}/v1/infer", EVENT_HEAD, bodies, "s" * 64))
        driver.drive(running, seconds)
        before, sent = thread_seconds(server.pid), driver.sent
        driver.drive(running, seconds)
        return _each(before, thread_seconds(server.pid), driver.sent - sent)


def _spent(workload: Workload, folder: Path, protocol: str, seconds: float) -> Spent:
    folder.mkdir()
    names = folder / "threads.json"
    command = ("-m", "lab.benchmarks.profile.worker", "{port}", protocol, str(names))
    with serving(workload, folder, command=command) as served:
        driver = Driver()
        driver.drive(served.running(), seconds)  # the first seconds of a process are not like the others
        ids = json.loads(names.read_text())
        before = _counted(served, ids)
        per_second = driver.drive(served.running(), seconds).per_second
        after = _counted(served, ids)
    requests = after.answers - before.answers
    threads = {name: _each(before.cpu[name], after.cpu[name], requests) for name in THREADS}
    return Spent(per_second, requests / (after.runs - before.runs), threads)


@dataclass(frozen=True)
class _Counted:
    answers: float
    runs: float
    cpu: Mapping[str, Times]


def _each(before: Times, after: Times, requests: float) -> Times:
    user, kernel = ((late - early) * 1e6 / requests for early, late in zip(before, after, strict=True))
    return user, kernel


def _counted(served: Sira, ids: Mapping[str, int]) -> _Counted:
    """Since the worker began."""
    return _Counted(
        served.metric("sira_predictions_total"),
        served.metric("sira_model_score_seconds_count"),
        {name: thread_seconds(ids[name]) for name in THREADS},
    )
