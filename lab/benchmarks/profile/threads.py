"""CPU time of each thread of a worker per request under full load, through ASGI and on the direct path."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks.contender import EVENT_HEAD, SERVER_CORE, Running, event_tail
from lab.benchmarks.deployment import BenchDeployment, serving
from lab.benchmarks.model import Workload
from lab.benchmarks.profile.worker import PROTOCOLS
from lab.benchmarks.scale.drive import Driver
from lab.load.generator import Target, write_bodies
from lab.ports import free_port
from lab.process import Process
from lab.procfs import thread_seconds

READY_SECONDS = 60.0
THREADS = ("MainThread", "spool-writer", "shipper", "reasons")  # the first is the event loop
Times = tuple[float, float]  # user, kernel


@dataclass(frozen=True)
class Spent:
    """Microseconds of CPU time per request, by thread. `batch`: events per run of the model."""

    per_second: float
    batch: float
    threads: Mapping[str, Times]

    @property
    def total(self) -> float:
        return sum(map(sum, self.threads.values()))


def measure(workload: Workload, folder: Path, seconds: float) -> dict[str, Spent]:
    """Measure each protocol under the same load, until the worker is idle again."""
    return {protocol: _spent(workload, folder / protocol, protocol, seconds) for protocol in sorted(PROTOCOLS)}


def http_alone(workload: Workload, folder: Path, seconds: float) -> Times:
    """Return the microseconds per request, (user, kernel), when the answer is available at once."""
    port = free_port()
    command = [sys.executable, "-m", "lab.benchmarks.profile.http_alone", str(port)]
    bodies = write_bodies(folder / "bodies", map(event_tail, workload.payloads))
    with Process(command, log=folder / "http_alone.log", cores=str(SERVER_CORE)) as process:
        base = f"http://127.0.0.1:{port}"
        process.wait_ready(base, READY_SECONDS)
        driver, running = Driver(), Running(process, Target(f"{base}/v1/infer", EVENT_HEAD, bodies, "s" * 64))
        driver.drive(running, seconds)
        before, sent = thread_seconds(process.pid), driver.sent
        driver.drive(running, seconds)
        return per_request(before, thread_seconds(process.pid), driver.sent - sent)


def _spent(workload: Workload, folder: Path, protocol: str, seconds: float) -> Spent:
    folder.mkdir()
    names = folder / "threads.json"
    command = ("-m", "lab.benchmarks.profile.worker", "{port}", protocol, str(names))
    with serving(workload, folder, command=command) as deployment:
        driver = Driver()
        driver.drive(deployment.running(), seconds)  # warm-up: the first seconds of a process are slower
        ids = json.loads(names.read_text())
        before = counted(deployment, ids)
        per_second = driver.drive(deployment.running(), seconds).per_second
        after = counted(deployment, ids)
    requests = after.answers - before.answers
    threads = {name: per_request(before.cpu[name], after.cpu[name], requests) for name in THREADS}
    return Spent(per_second, requests / (after.runs - before.runs), threads)


@dataclass(frozen=True)
class Counted:
    """What a worker has counted since it started; `cpu` in seconds, by thread."""

    answers: float
    runs: float
    cpu: Mapping[str, Times]


def per_request(before: Times, after: Times, requests: float) -> Times:
    """Return the microseconds of each request, from seconds before and after them."""
    user, kernel = ((late - early) * 1e6 / requests for early, late in zip(before, after, strict=True))
    return user, kernel


def counted(deployment: BenchDeployment, ids: Mapping[str, int]) -> Counted:
    """Read what the worker has counted since it started."""
    return Counted(
        deployment.metric("sira_predictions_total"),
        deployment.metric("sira_model_score_seconds_count"),
        {name: thread_seconds(ids[name]) for name in THREADS},
    )
