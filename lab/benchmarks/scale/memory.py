"""The memory of a worker with one model, and what its cache adds."""

from lab.benchmarks.deployment import serving
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.drive import Driver
from lab.benchmarks.scale.finding import Finding, Row, slope
from lab.benchmarks.scale.workspace import Workspace


def measure(workspace: Workspace) -> Finding:
    sizes = (0, 20_000) if workspace.quick else (0, 20_000, 40_000)
    rows = tuple(_row(workspace, size) for size in sizes)
    default = next(row for row in rows if row["CACHE_MAX_ITEMS"] == 20_000)
    return Finding(
        "Memory of a worker",
        "One worker, one model of 300 trees, 11 fields per event; the resident size when it is ready, and after it has"
        " answered more distinct events than its cache holds. 20,000 is the default.",
        rows,
        (f"A thousand scores in the cache take {1000 * slope(rows, 'CACHE_MAX_ITEMS', 'RSS loaded MiB'):.1f} MiB.",),
        (Goal("RSS of a worker with one model, MiB", 300, float(default["RSS loaded MiB"]), at_most=True),),
    )


def _row(workspace: Workspace, cache_items: int) -> Row:
    workspace.report(f"a cache of {cache_items:,}")
    folder = workspace.folder / str(cache_items)
    folder.mkdir()
    with serving(workspace.workload, folder, settings={"CACHE_MAX_ITEMS": str(cache_items)}) as deployment:
        ready = deployment.process.resident_mib()
        Driver().drive(deployment.running(), 4 if workspace.quick else 12)
        return {
            "CACHE_MAX_ITEMS": cache_items,
            "RSS ready MiB": ready,
            "RSS loaded MiB": deployment.process.resident_mib(),
            "peak MiB": deployment.process.peak_memory().largest_mib,
        }
