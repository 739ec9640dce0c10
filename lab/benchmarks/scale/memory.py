"""What a worker with one model holds, and what its cache adds."""

from lab.benchmarks.report import Goal
from lab.benchmarks.scale.drive import Driver
from lab.benchmarks.scale.finding import Finding, Row, slope
from lab.benchmarks.scale.room import Room
from lab.benchmarks.served import serving


def measure(room: Room) -> Finding:
    sizes = (0, 20_000) if room.quick else (0, 20_000, 40_000)
    rows = tuple(_row(room, size) for size in sizes)
    usual = next(row for row in rows if row["CACHE_MAX_ITEMS"] == 20_000)
    return Finding(
        "Memory of a worker",
        "One worker, one model of 300 trees, 11 fields an event; the resident size when it is ready and after it has"
        " answered more distinct events than its cache holds. 20,000 is the default.",
        rows,
        (f"A thousand scores in the cache take {1000 * slope(rows, 'CACHE_MAX_ITEMS', 'RSS loaded MiB'):.1f} MiB.",),
        (Goal("RSS of a worker with one model, MiB", 300, float(usual["RSS loaded MiB"]), at_most=True),),
    )


def _row(room: Room, cache_items: int) -> Row:
    room.say(f"a cache of {cache_items:,}")
    folder = room.folder / str(cache_items)
    folder.mkdir()
    with serving(room.workload, folder, settings={"CACHE_MAX_ITEMS": str(cache_items)}) as served:
        ready = served.server.resident_mib()
        Driver().drive(served.running(), 4 if room.quick else 12)
        return {
            "CACHE_MAX_ITEMS": cache_items,
            "RSS ready MiB": ready,
            "RSS loaded MiB": served.server.resident_mib(),
            "peak MiB": served.server.peak_memory().largest_mib,
        }
