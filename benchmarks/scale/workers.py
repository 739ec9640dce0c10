"""One worker and two: the rate, and what a request costs."""

from benchmarks.report import Goal
from benchmarks.scale.drive import Driver
from benchmarks.scale.finding import Finding, MeasurementFailed, Row
from benchmarks.scale.room import Room
from benchmarks.served import serving


def measure(room: Room) -> Finding:
    rows = tuple(_row(room, workers, cores) for workers, cores in ((1, "0"), (1, "0,1"), (2, "0,1")))
    costs = [float(row["CPU µs/request"]) for row in rows]
    alike = 2 * costs[0] / costs[2]
    return Finding(
        "Workers",
        "32 connections, two cores in all. wrk, Postgres and the controller are on core 1, so that what two workers"
        " answer is what those leave; the processor time a request needs says what they would on cores of their own.",
        rows,
        (
            f"A request costs {costs[2] / costs[0]:.2f} times the processor time with two workers: on cores of their"
            f" own two would answer {alike:.2f} times what one does.",
        ),
        (Goal("two workers on cores of their own, times one (by processor time a request)", 1.8, alike),),
    )


def _row(room: Room, workers: int, cores: str) -> Row:
    room.say(f"{workers} on cores {cores}")
    folder = room.folder / f"{workers}-on-{cores}"
    folder.mkdir()
    # bentoml serve has --api-workers too, and ignores it.
    settings = {"BENTOML_CONFIG_OPTIONS": f"services.sira_inference.workers={workers}"}
    with serving(room.workload, folder, cores=cores, settings=settings) as served:
        found = Driver().drive(served.running(), 3 if room.quick else 10)
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
