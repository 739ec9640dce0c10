"""POST /v1/infer/batch: events per second on one core, by the number of events per batch."""

import secrets
import threading
import time
from collections.abc import Sequence

from lab.benchmarks.contender import EVENT_HEAD, event_tail
from lab.benchmarks.deployment import BenchDeployment, serving
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth
from lab.benchmarks.scale.workspace import Workspace
from lab.http import Connection

CLIENTS = 4  # each waits for its answer; together they keep the server busy
TAG = b"@@tag@@@@@"  # in every event id; replaced in each batch, so that no event is sent twice
TIMEOUT_SECONDS = 30


def measure(workspace: Workspace) -> Finding:
    seconds = 3.0 if workspace.quick else 8.0
    with serving(workspace.workload, workspace.folder) as deployment:
        rows = tuple(_row(workspace, deployment, size, seconds) for size in (10, 100, 1000))
    return Finding(
        "The batch route",
        f"One worker on core 0, {CLIENTS} connections, distinct payloads; every event is a row of the log.",
        rows,
        (growth(rows, "events per batch", "events/s"),),
        (Goal("batch route, events/s per core", 100_000, max(float(row["events/s"]) for row in rows)),),
    )


def _row(workspace: Workspace, deployment: BenchDeployment, size: int, seconds: float) -> Row:
    workspace.report(f"batches of {size}")
    sent = bodies(workspace, size)
    deployment.process.quiesce()
    cpu, started = deployment.process.cpu_seconds(), time.monotonic()
    answered = drive(deployment, sent, seconds)
    elapsed = time.monotonic() - started
    deployment.process.quiesce()
    cpu = deployment.process.cpu_seconds() - cpu
    return {
        "events per batch": size,
        "events/s": answered * size / elapsed,
        "batches/s": answered / elapsed,
        "CPU µs/event": cpu * 1e6 / (answered * size),
    }


def bodies(workspace: Workspace, size: int) -> list[bytes]:
    """Return bodies of `size` distinct events each, for `drive`."""
    payloads = workspace.workload.payloads
    events = [f"{EVENT_HEAD}{TAG.decode()}{n}{event_tail(payload)}" for n, payload in enumerate(payloads)]
    groups = [events[first : first + size] for first in range(0, len(events), size)]
    return [f'{{"events":[{",".join(group)}]}}'.encode() for group in groups]


def drive(deployment: BenchDeployment, bodies: Sequence[bytes], seconds: float) -> int:
    """Send bodies for `seconds`; return how many batches were answered completely. Raises MeasurementFailed."""
    ending = time.monotonic() + seconds
    counts = [0] * CLIENTS
    faults: list[str] = []

    def client(number: int) -> None:
        at = number * len(bodies) // CLIENTS
        service = deployment.client
        with Connection(service.base, service.token, timeout_seconds=TIMEOUT_SECONDS) as connection:
            while time.monotonic() < ending and not faults:
                body = bodies[at % len(bodies)].replace(TAG, secrets.token_hex(5).encode())
                answer = connection.exchange("POST", "/v1/infer/batch", body)
                if answer.status != 200 or b'"error"' in answer.content:
                    faults.append(f"HTTP {answer.status}: {answer.text[:300]}")
                counts[number] += 1
                at += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    if faults:
        raise MeasurementFailed(faults[0])
    return sum(counts)
