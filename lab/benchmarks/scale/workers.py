"""One worker and two: the rate, and the CPU time of a request."""

from lab.benchmarks.deployment import serving
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.drive import Driver
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row
from lab.benchmarks.scale.workspace import Workspace
from lab.load.generator import DEFAULT_CONNECTIONS

CACHE_ITEMS = 20_000
CASES = ((1, "0"), (2, "0"), (1, "0,1"), (2, "0,1"))


def measure(workspace: Workspace) -> Finding:
    rows = tuple(_row(workspace, workers, cores) for workers, cores in CASES)
    costs = [float(row["CPU µs/request"]) for row in rows]
    speedup = 2 * costs[0] / costs[1]
    return Finding(
        "Workers",
        f"{DEFAULT_CONNECTIONS} connections per worker. wrk, Postgres and the controller run on core 1 of the two, so"
        " two workers on a core each would share one with them. The cost of a second worker is therefore measured with"
        " both on core 0: the CPU time of a request tells what they would answer on cores of their own.",
        rows,
        (
            f"Beside another worker, a request costs {costs[1] / costs[0]:.2f} times the CPU time: on cores of their"
            f" own, two workers would answer {speedup:.2f} times what one does, if neither core waited for the other.",
        ),
        (Goal("two workers on cores of their own, times one (by CPU time per request)", 1.8, speedup),),
    )


def _row(workspace: Workspace, workers: int, cores: str) -> Row:
    workspace.report(f"{workers} on cores {cores}")
    folder = workspace.folder / f"{workers}-on-{cores}"
    folder.mkdir()
    # Each worker receives only its share of the payloads, so the same payload returns to it sooner.
    settings = {"CACHE_MAX_ITEMS": str(CACHE_ITEMS // workers)}
    with serving(workspace.workload, folder, workers=workers, cores=cores, settings=settings) as deployment:
        found = Driver(DEFAULT_CONNECTIONS * workers).drive(deployment.running(), 3 if workspace.quick else 10)
        started = len(list(deployment.service.spool.glob("spool-*")))
    if started != workers:
        raise MeasurementFailed(f"{workers} workers were requested, {started} have a spool")
    return {
        "workers": workers,
        "cores": cores,
        "requests/s": found.per_second,
        "p99 ms": found.p99_ms,
        "CPU µs/request": found.cpu_us,
    }
