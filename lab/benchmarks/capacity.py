"""What a number of predictions a day takes, worked out from what was measured. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from lab.benchmarks.scale.finding import Row

DAY_SECONDS = 86_400
PEAK = 3  # the busiest minute, in times of the average
UTILISATION = 0.7  # where k8s/hpa.yaml adds pods
WORKERS_A_POD, CORES_A_POD = 2, 2  # k8s/deployment.yaml
FEWEST_PODS = 2  # k8s/hpa.yaml
SPOOL_BYTES = 2 << 30  # of a worker there
RETENTION_DAYS = 400
NEEDED = {"workers", "memory", "backlog"}  # of the scale's measurements


@dataclass(frozen=True)
class Measured:
    """`shipped_per_second`: rows that Postgres took on the two cores it shared with the shippers. Bytes are a row's."""

    cpu_us: float
    worker_mib: float
    shipped_per_second: float
    heap_bytes: float
    index_bytes: float
    wal_bytes: float
    copy_bytes: float


def measured(results: Mapping[str, Any]) -> Measured:
    """From the kept results, the profile and NEEDED among them."""
    scale = results["scale"]
    backlog = max(scale["backlog"]["rows"], key=lambda row: row["rows/s"])
    usual = next(row for row in scale["memory"]["rows"] if row["CACHE_MAX_ITEMS"] == 20_000)
    return Measured(
        cpu_us=scale["workers"]["rows"][0]["CPU µs/request"],
        worker_mib=usual["RSS loaded MiB"],
        shipped_per_second=backlog["rows/s"],
        heap_bytes=backlog["heap bytes/row"],
        index_bytes=backlog["index bytes/row"],
        wal_bytes=backlog["WAL bytes/row"],
        copy_bytes=results["profile"]["log"][0]["bytes"],
    )


def needed(per_day: float, found: Measured) -> list[Row]:
    """A row a quantity, with where it comes from; `per_day` > 0."""
    average = per_day / DAY_SECONDS
    peak = PEAK * average
    cores = peak * found.cpu_us / 1e6 / UTILISATION
    pods = max(FEWEST_PODS, ceil(cores / CORES_A_POD))
    stored = per_day * (found.heap_bytes + found.index_bytes)
    spool_seconds = SPOOL_BYTES / (peak / (pods * WORKERS_A_POD) * found.copy_bytes)
    quantities = (
        ("predictions/s, average", average, "a day's, evenly"),
        ("predictions/s, peak", peak, f"{PEAK} times the average: an assumption"),
        ("processor time of a prediction, µs", found.cpu_us, "measured, everything on, shipping included"),
        ("cores at the peak", cores, f"at {UTILISATION:.0%} of each, where the autoscaler adds pods"),
        ("pods", pods, f"{WORKERS_A_POD} workers and {CORES_A_POD} cores each, as k8s/deployment.yaml"),
        ("memory of their workers, GiB", pods * WORKERS_A_POD * found.worker_mib / 1024, "measured a worker"),
        ("rows/s into Postgres, peak", peak, "one a prediction"),
        ("rows/s one Postgres took here", found.shipped_per_second, "measured on two cores, shippers included"),
        ("heap and indexes a day, GB", stored / 1e9, "measured a row"),
        ("write-ahead log a day, GB", per_day * found.wal_bytes / 1e9, "measured a row"),
        ("one day's indexes, GB", per_day * found.index_bytes / 1e9, "a partition is a day"),
        (f"kept for {RETENTION_DAYS} days, TB", RETENTION_DAYS * stored / 1e12, "RETENTION_DAYS as it is set"),
        ("the spools last without Postgres, minutes", spool_seconds / 60, "2 GiB a worker, at the peak"),
    )
    return [{"at a billion a day": name, "": figure, "from": source} for name, figure, source in quantities]
