"""The profile of a batch of a thousand events, composed from its threads and its steps; microseconds per event.

Of several rounds, the one with the least processor time counts: beside other work, caches are cold and cores shared.
"""

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

ROUNDS = 7


@dataclass(frozen=True)
class BatchProfile:
    """`line`: the cost of each part of an event in a batch."""

    line: tuple[Row, ...]
    per_second: float


def measure(workspace: Workspace) -> BatchProfile:
    seconds = 1.0 if workspace.quick else 3.0
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
        Step("reasons of reviews and blocks, user and kernel", sum(threads["reasons"])),
        Step("**together**", sum(map(sum, threads.values()))),
    ]
    return [{"one event of a batch": part.name, "µs": part.microseconds} for part in parts]


def _spent(workspace: Workspace, seconds: float) -> tuple[dict[str, Times], float]:
    """Return the CPU time of each thread per event, until the worker is idle again, and events per second."""
    names = workspace.folder / "threads.json"
    command = ("-m", "lab.benchmarks.profile.worker", "{port}", "asgi", str(names))
    bodies = batches.bodies(workspace, MAX_EVENTS)
    rounds = []
    with serving(workspace.workload, workspace.folder, command=command) as deployment:
        batches.drive(deployment, bodies, seconds)  # warm-up: the first seconds of a process are slower
        ids = json.loads(names.read_text())
        for _ in range(ROUNDS):
            deployment.process.quiesce()
            before = counted(deployment, ids)
            answered = batches.drive(deployment, bodies, seconds)
            deployment.process.quiesce()
            after = counted(deployment, ids)
            events = after.answers - before.answers
            spent = {name: per_request(before.cpu[name], after.cpu[name], events) for name in THREADS}
            rounds.append((spent, answered * MAX_EVENTS / seconds))
    return min(rounds, key=lambda one: sum(map(sum, one[0].values())))
