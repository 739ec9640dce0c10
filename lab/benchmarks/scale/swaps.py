"""A hundred promotions, there and back: does a worker keep what it no longer serves?"""

import statistics

from lab.benchmarks.report import Goal
from lab.benchmarks.scale.drive import Driver
from lab.benchmarks.scale.finding import Finding, Row
from lab.benchmarks.scale.room import Room
from lab.benchmarks.served import Sira, serving


def measure(room: Room) -> Finding:
    rounds, each = (2, 5) if room.quick else (5, 20)
    with serving(room.workload, room.folder) as served:
        Driver().drive(served.running(), 3 if room.quick else 5)  # the first load of a process is not what swaps cost
        rows = [_row(served, 0, [])]
        for number in range(1, rounds + 1):
            room.say(f"swap {number * each} of {rounds * each}")
            rows.append(_row(served, number * each, _swap(room, served, each)))
    sizes = [float(row["RSS MiB"]) for row in rows]
    change = max(abs(size / sizes[0] - 1) for size in sizes)
    return Finding(
        "Model swaps",
        "One worker; two versions of 300 trees are made production in turn, each time awaited until it answers.",
        tuple(rows),
        (f"RSS changes by {sizes[-1] / sizes[0] - 1:+.1%} over {rounds * each} swaps.",),
        (Goal("largest change of RSS over the swaps, %", 5, change * 100, at_most=True),),
    )


def _swap(room: Room, served: Sira, times: int) -> list[float]:
    """Seconds from each promotion to the first answer of the version promoted."""
    order = (served.models["canary"], served.models["production"])
    at = room.workload.payloads[0]
    current = served.infer("before-the-swaps", at)["model_id"]
    first = order.index(next(model_id for model_id in order if model_id != current))
    return [served.promote(order[(first + number) % 2], at) for number in range(times)]


def _row(served: Sira, swaps: int, seconds: list[float]) -> Row:
    return {
        "swaps": swaps,
        "RSS MiB": served.server.resident_mib(),
        "promoted to served ms, median": statistics.median(seconds) * 1e3 if seconds else "",
    }
