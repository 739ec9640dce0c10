"""The profile of a batch of a thousand events, composed from its threads and its steps; microseconds per event."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge.infer_bodies import MAX_EVENTS
from lab.benchmarks.deployment import serving
from lab.benchmarks.profile import batch_steps
from lab.benchmarks.profile.steps import Step
from lab.benchmarks.profile.threads import THREADS, Times, counted, per_request
from lab.benchmarks.scale import batches
from lab.benchmarks.scale.finding import Row
from lab.benchmarks.scale.workspace import Workspace


@dataclass(frozen=True)
class BatchProfile:
    """`line`: the cost of each part of an event in a batch."""

    line: tuple[Row, ...]
    per_second: float


def measure(workspace: Workspace) -> BatchProfile:
    seconds = 3.0 if workspace.quick else 10.0
    workspace.report("batches under load")
    threads, per_second = _spent(workspace, seconds)
    workspace.report("batches step by step")
    return BatchProfile(tuple(line(threads, batch_steps.measure(workspace.workload))), per_second)


def line(threads: Mapping[str, Times], found: Sequence[Step]) -> list[Row]:
    """Attribute every microsecond of the worker's threads to one part."""
    user, kernel = threads["MainThread"]
    rest = user + kernel - sum(step.microseconds for step in found)
    parts = [
        *found,
        Step("the rest of the event loop: HTTP, the GIL, cold caches", rest),
        Step("spool: commits to disk, user and kernel", sum(threads["spool-writer"])),
        Step("shipper: spool to Postgres, user and kernel", sum(threads["shipper"])),
        Step("**together**", sum(map(sum, threads.values()))),
    ]
    return [{"one event of a batch": part.name, "µs": part.microseconds} for part in parts]


def _spent(workspace: Workspace, seconds: float) -> tuple[dict[str, Times], float]:
    """Return the CPU time of each thread per event, until the worker is idle again, and events per second."""
    names = workspace.folder / "threads.json"
    command = ("-m", "lab.benchmarks.profile.worker", "{port}", "asgi", str(names))
    bodies = batches.bodies(workspace, MAX_EVENTS)
    with serving(workspace.workload, workspace.folder, command=command) as deployment:
        batches.drive(deployment, bodies, seconds)  # warm-up: the first seconds of a process are slower
        deployment.process.quiesce()
        ids = json.loads(names.read_text())
        before = counted(deployment, ids)
        answered = batches.drive(deployment, bodies, seconds)
        deployment.process.quiesce()
        after = counted(deployment, ids)
    events = after.answers - before.answers
    threads = {name: per_request(before.cpu[name], after.cpu[name], events) for name in THREADS}
    return threads, answered * MAX_EVENTS / seconds
