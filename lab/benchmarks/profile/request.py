"""The profile of a request, composed from its threads and its steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.benchmarks.profile import shipment, steps, threads
from lab.benchmarks.profile.shipment import Shipments
from lab.benchmarks.profile.steps import Step
from lab.benchmarks.profile.threads import Spent, Times
from lab.benchmarks.scale.finding import Row
from lab.benchmarks.scale.workspace import Workspace


@dataclass(frozen=True)
class Profile:
    """`line`: the cost of each part of a request; `protocols`: ASGI and the direct path; `log`: rows as JSON, as COPY.

    `batch`: events per run of the model; `shipped_us`: microseconds of a row's whole shipment.
    """

    batch: float
    line: tuple[Row, ...]
    protocols: tuple[Row, ...]
    log: tuple[Row, ...]
    shipped_us: float


def measure(workspace: Workspace) -> Profile:
    seconds = 3.0 if workspace.quick else 10.0
    workspace.report("both protocols under load")
    spent = threads.measure(workspace.workload, workspace.folder, seconds)
    workspace.report("HTTP alone")
    http = threads.http_alone(workspace.workload, workspace.folder, seconds)
    workspace.report("step by step")
    found = steps.measure(workspace.workload, round(spent["direct"].batch))
    shipments: Shipments = shipment.measure(workspace)
    return Profile(
        batch=spent["direct"].batch,
        line=tuple(line(spent["direct"], http, found)),
        protocols=tuple(protocols(spent)),
        log=shipments.rows,
        shipped_us=shipments.whole_us,
    )


def line(spent: Spent, http: Times, found: Sequence[Step]) -> list[Row]:
    """Attribute every microsecond of the worker's threads to one part."""
    user, kernel = spent.threads["MainThread"]
    rest = user + kernel - sum(http) - sum(step.microseconds for step in found)
    parts = [
        Step("HTTP in and out, event loop", http[0]),
        Step("the same, in the kernel", http[1]),
        *found,
        Step(
            "the rest of the event loop: batching, wake-ups, the GIL, cold caches",
            rest,
        ),
        Step("spool: commits to disk, user and kernel", sum(spent.threads["spool-writer"])),
        Step("shipper: spool to Postgres, user and kernel", sum(spent.threads["shipper"])),
        Step("reasons of reviews and blocks, user and kernel", sum(spent.threads["reasons"])),
        Step("**together**", spent.total),
    ]
    return [{"one request": part.name, "µs": part.microseconds} for part in parts]


def protocols(spent: Mapping[str, Spent]) -> list[Row]:
    names = {"asgi": "through ASGI", "direct": "direct path, from the socket"}
    return [
        {
            "path": name,
            "requests/s": spent[protocol].per_second,
            "event loop µs, user": spent[protocol].threads["MainThread"][0],
            "kernel": spent[protocol].threads["MainThread"][1],
            "all threads µs": spent[protocol].total,
        }
        for protocol, name in names.items()
    ]
