"""A hundred promotions between two versions: does a worker release what it no longer serves?"""

import statistics

from lab.benchmarks.deployment import BenchDeployment, serving
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.drive import Driver
from lab.benchmarks.scale.finding import Finding, Row
from lab.benchmarks.scale.workspace import Workspace


def measure(workspace: Workspace) -> Finding:
    rounds, each = (2, 5) if workspace.quick else (5, 20)
    with serving(workspace.workload, workspace.folder) as deployment:
        # The first load of a process allocates memory that swaps do not.
        Driver().drive(deployment.running(), 3 if workspace.quick else 5)
        rows = [_row(deployment, 0, [])]
        for number in range(1, rounds + 1):
            workspace.report(f"swap {number * each} of {rounds * each}")
            rows.append(_row(deployment, number * each, _swap(workspace, deployment, each)))
    sizes = [float(row["RSS MiB"]) for row in rows]
    change = max(abs(size / sizes[0] - 1) for size in sizes)
    return Finding(
        "Model swaps",
        "One worker; two versions of 300 trees are promoted in turn, each after the other answers.",
        tuple(rows),
        (f"RSS changes by {sizes[-1] / sizes[0] - 1:+.1%} over {rounds * each} swaps.",),
        (Goal("largest change of RSS over the swaps, %", 5, change * 100, at_most=True),),
    )


def _swap(workspace: Workspace, deployment: BenchDeployment, times: int) -> list[float]:
    """Return the seconds from each promotion to the first answer of the promoted version."""
    order = (deployment.models["canary"], deployment.models["production"])
    at = workspace.workload.payloads[0]
    current = deployment.infer("before-the-swaps", at)["model_id"]
    first = order.index(next(model_id for model_id in order if model_id != current))
    return [deployment.promote(order[(first + number) % 2], at) for number in range(times)]


def _row(deployment: BenchDeployment, swaps: int, seconds: list[float]) -> Row:
    return {
        "swaps": swaps,
        "RSS MiB": deployment.process.resident_mib(),
        "promoted to served ms, median": statistics.median(seconds) * 1e3 if seconds else "",
    }
