"""The resources that a number of predictions per day needs, computed from the measurements. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from lab.benchmarks.scale.finding import Row, slope

DAY_SECONDS = 86_400
PEAK = 3  # the busiest minute, as a multiple of the average
UTILISATION = 0.7  # where k8s/hpa.yaml adds pods
WORKERS_PER_POD, CORES_PER_POD = 2, 2  # k8s/deployment.yaml
MIN_PODS = 2  # k8s/hpa.yaml
SPOOL_BYTES = 2 << 30  # per worker, k8s/deployment.yaml
RETENTION_DAYS = 400
MONTH_DAYS, BACKTEST_DAYS = 30, 30
S3_USD_PER_GB_MONTH = 0.023  # S3 Standard in us-east-1, the first 50 TB
NEEDED = {"workers", "memory", "backlog"}  # the measurements of scale that measured() reads
ARCHIVE_NEEDED = {"archive", "replay"}  # the measurements of backtest that archived() reads


@dataclass(frozen=True)
class Measured:
    """`shipped_per_second`: rows into Postgres, on the two cores it shared with the shippers. Bytes are per row."""

    cpu_us: float
    worker_mib: float
    shipped_per_second: float
    heap_bytes: float
    index_bytes: float
    wal_bytes: float
    copy_bytes: float


def measured(results: Mapping[str, Any]) -> Measured:
    """Read the stored results, which must include the profile and NEEDED."""
    scale = results["scale"]
    backlog = max(scale["backlog"]["rows"], key=lambda row: row["rows/s"])
    default = next(row for row in scale["memory"]["rows"] if row["CACHE_MAX_ITEMS"] == 20_000)
    return Measured(
        cpu_us=scale["workers"]["rows"][0]["CPU µs/request"],
        worker_mib=default["RSS loaded MiB"],
        shipped_per_second=backlog["rows/s"],
        heap_bytes=backlog["heap bytes/row"],
        index_bytes=backlog["index bytes/row"],
        wal_bytes=backlog["WAL bytes/row"],
        copy_bytes=results["profile"]["log"][0]["bytes"],
    )


def needed(per_day: float, found: Measured) -> list[Row]:
    """Return one row per quantity, with its source; `per_day` > 0."""
    average = per_day / DAY_SECONDS
    peak = PEAK * average
    cores = peak * found.cpu_us / 1e6 / UTILISATION
    pods = max(MIN_PODS, ceil(cores / CORES_PER_POD))
    stored = per_day * (found.heap_bytes + found.index_bytes)
    spool_seconds = SPOOL_BYTES / (peak / (pods * WORKERS_PER_POD) * found.copy_bytes)
    quantities = (
        ("predictions/s, average", average, "spread evenly over the day"),
        ("predictions/s, peak", peak, f"assumed: {PEAK} times the average"),
        ("CPU time of a prediction, µs", found.cpu_us, "measured, everything on, shipping included"),
        ("cores at the peak", cores, f"at {UTILISATION:.0%} of each, where the autoscaler adds pods"),
        ("pods", pods, f"{WORKERS_PER_POD} workers and {CORES_PER_POD} cores each, as in k8s/deployment.yaml"),
        ("memory of their workers, GiB", pods * WORKERS_PER_POD * found.worker_mib / 1024, "measured per worker"),
        ("rows/s into Postgres, peak", peak, "one per prediction"),
        ("rows/s into one Postgres, measured", found.shipped_per_second, "on two cores, shippers included"),
        ("heap and indexes per day, GB", stored / 1e9, "measured per row"),
        ("write-ahead log per day, GB", per_day * found.wal_bytes / 1e9, "measured per row"),
        ("one day's indexes, GB", per_day * found.index_bytes / 1e9, "a partition is a day"),
        (f"kept for {RETENTION_DAYS} days, TB", RETENTION_DAYS * stored / 1e12, "the default of RETENTION_DAYS"),
        ("the spools last without Postgres, minutes", spool_seconds / 60, "2 GiB per worker, at the peak"),
    )
    return [{"at a billion per day": name, "": figure, "from": source} for name, figure, source in quantities]


@dataclass(frozen=True)
class Archived:
    """Bytes per event, and the microseconds of processor time that each further event adds to archiving
    and to a backtest.
    """

    parquet_bytes: float
    stored_bytes: float
    archive_cpu_us: float
    backtest_cpu_us: float


def archived(backtest: Mapping[str, Any]) -> Archived:
    """Read the stored results of the backtest command, which must include ARCHIVE_NEEDED."""
    days = [row | {"CPU s": row["rows"] / row["rows/CPU s"]} for row in backtest["archive"]["rows"]]
    day = days[-1]
    one_process = [row for row in backtest["replay"]["rows"] if row[""] == "one process"]
    return Archived(
        parquet_bytes=day["Parquet bytes/event"],
        stored_bytes=day["bytes/event, all files"],
        archive_cpu_us=1e6 * slope(days, "rows", "CPU s"),
        backtest_cpu_us=1e6 * slope(one_process, "events", "CPU s"),
    )


def archive_needed(per_day: float, found: Archived) -> list[Row]:
    """Return what the archive and backtests need, one row per quantity with its source; `per_day` > 0."""
    day_gb = per_day * found.stored_bytes / 1e9
    month_usd = MONTH_DAYS * day_gb * S3_USD_PER_GB_MONTH
    kept_gb = RETENTION_DAYS * day_gb
    core_hours = BACKTEST_DAYS * per_day * found.backtest_cpu_us / 1e6 / 3600
    quantities = (
        ("bytes of an event in Parquet", found.parquet_bytes, "measured, the demo's eleven fields"),
        ("the same with index and manifest", found.stored_bytes, "measured"),
        ("archived per day, GB", day_gb, ""),
        (f"{MONTH_DAYS} days in S3, GB", MONTH_DAYS * day_gb, ""),
        (f"{MONTH_DAYS} days in S3, USD per month", month_usd, f"assumed: {S3_USD_PER_GB_MONTH} USD per GB and month"),
        (f"{RETENTION_DAYS} days in S3, TB", kept_gb / 1e3, "the default of RETENTION_DAYS"),
        (f"{RETENTION_DAYS} days in S3, USD per month", kept_gb * S3_USD_PER_GB_MONTH, "the same price"),
        (
            "core-hours to archive a day",
            per_day * found.archive_cpu_us / 1e6 / 3600,
            "measured, without Postgres and the start",
        ),
        ("CPU time of an event in a backtest, µs", found.backtest_cpu_us, "measured, 300 trees"),
        (f"core-hours of a backtest of {BACKTEST_DAYS} days", core_hours, ""),
        ("cores for that backtest in one hour", ceil(core_hours / UTILISATION), f"each busy {UTILISATION:.0%}"),
    )
    return [{"a billion per day, archived": name, "": figure, "from": source} for name, figure, source in quantities]
