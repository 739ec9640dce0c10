"""The profile of a request, put together from its threads and its stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.benchmarks.profile import shipment, stages, threads
from lab.benchmarks.profile.shipment import Shipments
from lab.benchmarks.profile.stages import Stage
from lab.benchmarks.profile.threads import Spent, Times
from lab.benchmarks.scale.finding import Row
from lab.benchmarks.scale.room import Room


@dataclass(frozen=True)
class Profile:
    """`line`: where one request's microseconds go; `protocols`: before and after the direct path; `log`: JSON, COPY."""

    batch: float
    line: tuple[Row, ...]
    protocols: tuple[Row, ...]
    log: tuple[Row, ...]
    shipped_us: float


def measure(room: Room) -> Profile:
    seconds = 3.0 if room.quick else 10.0
    room.say("both protocols under load")
    spent = threads.measure(room.workload, room.folder, seconds)
    room.say("HTTP alone")
    http = threads.http_alone(room.workload, room.folder, seconds)
    room.say("stage by stage")
    found = stages.measure(room.workload, round(spent["direct"].batch))
    shipments: Shipments = shipment.measure(room)
    return Profile(
        batch=spent["direct"].batch,
        line=tuple(line(spent["direct"], http, found)),
        protocols=tuple(protocols(spent)),
        log=shipments.rows,
        shipped_us=shipments.whole_us,
    )


def line(spent: Spent, http: Times, found: Sequence[Stage]) -> list[Row]:
    """Every microsecond of the worker's threads, once."""
    user, kernel = spent.threads["MainThread"]
    rest = user + kernel - sum(http) - sum(stage.microseconds for stage in found)
    parts = [
        Stage("HTTP in and out, event loop", http[0]),
        Stage("the same, in the kernel", http[1]),
        *found,
        Stage(
            "the rest of the event loop: batching, waking, the interpreter's lock, cold caches",
            rest,
        ),
        Stage("spool: commits to disk, user and kernel", sum(spent.threads["spool-writer"])),
        Stage("shipper: spool to Postgres, user and kernel", sum(spent.threads["shipper"])),
        Stage("**together**", spent.total),
    ]
    return [{"one request": part.name, "µs": part.microseconds} for part in parts]


def protocols(spent: Mapping[str, Spent]) -> list[Row]:
    names = {"asgi": "through ASGI, as before", "direct": "straight from the socket"}
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
