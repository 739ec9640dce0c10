"""One worker and two: the rate, and what a request costs."""

from lab.benchmarks.report import Goal
from lab.benchmarks.scale.drive import Driver
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row
from lab.benchmarks.scale.room import Room
from lab.benchmarks.served import serving
from lab.benchmarks.wrk import CONNECTIONS

CACHE_ITEMS = 20_000
CASES = ((1, "0"), (2, "0"), (1, "0,1"), (2, "0,1"))


def measure(room: Room) -> Finding:
    rows = tuple(_row(room, workers, cores) for workers, cores in CASES)
    costs = [float(row["CPU µs/request"]) for row in rows]
    alike = 2 * costs[0] / costs[1]
    return Finding(
        "Workers",
        f"{CONNECTIONS} connections a worker. wrk, Postgres and the controller are on core 1 of the two there are: two"
        " workers with a core each would have to share one with them. So what a second worker costs is told by both"
        " on core 0: the processor time of a request says what they would answer on cores of their own.",
        rows,
        (
            f"A request costs {costs[1] / costs[0]:.2f} times the processor time beside another worker: on cores of"
            f" their own two would answer {alike:.2f} times what one does, if cores waited for nothing of each other.",
        ),
        (Goal("two workers on cores of their own, times one (by processor time a request)", 1.8, alike),),
    )


def _row(room: Room, workers: int, cores: str) -> Row:
    room.say(f"{workers} on cores {cores}")
    folder = room.folder / f"{workers}-on-{cores}"
    folder.mkdir()
    settings = {
        # bentoml serve has --api-workers too, and ignores it.
        "BENTOML_CONFIG_OPTIONS": f"services.sira_inference.workers={workers}",
        # Each sees its share of the payloads only, and meets them again the sooner.
        "CACHE_MAX_ITEMS": str(CACHE_ITEMS // workers),
    }
    with serving(room.workload, folder, cores=cores, settings=settings) as served:
        found = Driver(CONNECTIONS * workers).drive(served.running(), 3 if room.quick else 10)
        started = len(list((folder / "spool").glob("spool-*.sqlite")))
    if started != workers:
        raise MeasurementFailed(f"{workers} workers were asked for, {started} have a spool")
    return {
        "workers": workers,
        "cores": cores,
        "requests/s": found.per_second,
        "p99 ms": found.p99_ms,
        "CPU µs/request": found.cpu_us,
    }
