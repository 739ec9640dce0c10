"""How fast a full spool is shipped after Postgres was away: by one shipper, and by several."""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks.rows import batched, predictions
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth
from lab.benchmarks.scale.workspace import QUERIES, Database, Workspace
from runtime.postgres import connect
from scoring.log.prediction import copy_text
from scoring.log.spool import Spool

BATCH_ROWS = 16  # the batch size that 32 connections cause at full rate
STATUS_SECONDS = 0.05


def measure(workspace: Workspace) -> Finding:
    many = 40_000 if workspace.quick else 240_000
    cases = (Case(1, 1, many // 4), Case(1, 1, many), Case(2, 1, many), Case(4, 1, many), Case(4, 4, many))
    with workspace.database() as database:
        rows = tuple(_row(workspace, database, number, case) for number, case in enumerate(cases))
    return Finding(
        "A backlog drained into Postgres",
        f"Spools with {BATCH_ROWS} rows per batch; each shipper is a process with a spool of its own. Postgres 18 with"
        " its default settings and fsync on; all on the same two cores. Shippers of one product add to the same hourly"
        " sums, one transaction at a time. WAL includes the full pages written after a checkpoint.",
        rows,
        (
            growth(rows[:2], "rows", "rows/s"),
            growth(rows[1:4], "shippers", "rows/s"),
            f"Compressed with zlib, a row takes {_compressed(workspace):.0f} bytes.",
        ),
    )


def _compressed(workspace: Workspace) -> float:
    """Return the bytes per row of a compressed file of COPY text."""
    rows = list(predictions(workspace.workload.payloads, 20_000, tag="compressed", started=time.time()))
    return len(zlib.compress(copy_text(rows))) / len(rows)


@dataclass(frozen=True)
class Case:
    """`rows`: in total, spread over the shippers' spools. Shipper n ships product n modulo `products`."""

    shippers: int
    products: int
    rows: int


def _row(workspace: Workspace, database: Database, number: int, case: Case) -> Row:
    workspace.report(f"{case.rows:,} rows, {case.shippers} shippers, {case.products} products")
    folders = [workspace.folder / f"spool-{number}-{shipper}" for shipper in range(case.shippers)]
    for shipper, folder in enumerate(folders):
        _fill(workspace, folder, case.rows // case.shippers, f"product_{shipper % case.products}")
    before = _state(database)
    with _sample_lock_waits(database) as waits:
        reports = _drain(database, folders)
    after = _state(database)
    if after["rows"] - before["rows"] != case.rows:
        raise MeasurementFailed(f"{case.rows} rows were spooled, {after['rows'] - before['rows']} arrived")
    seconds = max(one["ended"] for one in reports) - min(one["began"] for one in reports)
    return {
        "shippers": case.shippers,
        "products": case.products,
        "rows": case.rows,
        "rows/s": case.rows / seconds,
        "waiting for each other %": 100 * statistics.mean(waits or [0]),
        "shipper CPU µs/row": sum(one["cpu_seconds"] for one in reports) * 1e6 / case.rows,
        "heap bytes/row": (after["heap"] - before["heap"]) / case.rows,
        "index bytes/row": (after["indexes"] - before["indexes"]) / case.rows,
        "WAL bytes/row": (after["wal"] - before["wal"]) / case.rows,
    }


def _fill(workspace: Workspace, folder: Path, count: int, product: str) -> None:
    spool = Spool.open(folder, limit_bytes=1 << 40)
    now = time.time()
    rows = predictions(workspace.workload.payloads, count, tag=folder.name, started=now, product=product)
    for batch in batched(rows, BATCH_ROWS):
        spool.append("predictions", copy_text(batch), len(batch), now, lambda error: None)
    spool.close()


def _drain(database: Database, folders: list[Path]) -> list[dict[str, float]]:
    """Start all shippers at once; return the times that each reports."""
    command = [sys.executable, "-m", "lab.benchmarks.scale.drain"]
    environment = os.environ | {"DATABASE_URL": database.url}
    shippers = [
        subprocess.Popen(
            [*command, str(folder)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for folder in folders
    ]
    for shipper in shippers:
        assert shipper.stdout is not None
        shipper.stdout.readline()
    for shipper in shippers:
        assert shipper.stdin is not None
        shipper.stdin.write("go\n")
        shipper.stdin.flush()
    return [json.loads(shipper.communicate()[0]) for shipper in shippers]


@contextmanager
def _sample_lock_waits(database: Database) -> Iterator[list[float]]:
    """Sample the share of the shippers, in [0, 1], that wait for a lock in Postgres."""
    shares: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        with connect(database.url, name="watch", autocommit=True) as connection:
            while not stop.wait(STATUS_SECONDS):
                found = connection.execute(QUERIES["lock_waits"]).fetchone()
                if found and found[0] is not None:
                    shares.append(float(found[0]))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield shares
    finally:
        stop.set()
        sampler.join()


def _state(database: Database) -> dict[str, int]:
    found = database.connection.execute(QUERIES["log_size"]).fetchone()
    assert found is not None
    return dict(zip(("rows", "heap", "indexes", "wal"), map(int, found), strict=True))
