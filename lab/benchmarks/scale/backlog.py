"""What Postgres takes when it was away: a full spool drained, by one shipper and by several."""

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
from lab.benchmarks.scale.room import QUERIES, Database, Room
from runtime.postgres import connect
from scoring.prediction import copy_text
from scoring.spool import Spool

BATCH_ROWS = 16  # as 32 connections at full rate make them


def measure(room: Room) -> Finding:
    many = 40_000 if room.quick else 240_000
    cases = (Case(1, 1, many // 4), Case(1, 1, many), Case(2, 1, many), Case(4, 1, many), Case(4, 4, many))
    with room.database() as database:
        rows = tuple(_row(room, database, number, case) for number, case in enumerate(cases))
    return Finding(
        "A backlog drained into Postgres",
        f"Spools of {BATCH_ROWS} rows a batch, each shipper a process with a spool of its own; Postgres 18 with"
        " its default settings and fsync on, all on the same two cores. Shippers of one product add to the same hourly"
        " sums, one transaction at a time. WAL includes the full pages after a checkpoint.",
        rows,
        (
            growth(rows[:2], "rows", "rows/s"),
            growth(rows[1:4], "shippers", "rows/s"),
            f"Compressed by zlib a row is {_compressed(room):.0f} bytes.",
        ),
    )


def _compressed(room: Room) -> float:
    """Bytes a row of a file of COPY text, as one would put into S3."""
    rows = list(predictions(room.workload.payloads, 20_000, tag="compressed", started=time.time()))
    return len(zlib.compress(copy_text(rows))) / len(rows)


@dataclass(frozen=True)
class Case:
    """`rows` in all, spread over the shippers' spools; shipper and product numbers go round together."""

    shippers: int
    products: int
    rows: int


def _row(room: Room, database: Database, number: int, case: Case) -> Row:
    room.say(f"{case.rows:,} rows, {case.shippers} shippers, {case.products} products")
    folders = [room.folder / f"spool-{number}-{shipper}" for shipper in range(case.shippers)]
    for shipper, folder in enumerate(folders):
        _fill(room, folder, case.rows // case.shippers, f"product_{shipper % case.products}")
    before = _state(database)
    with _watched(database) as waits:
        told = _drain(database, folders)
    after = _state(database)
    if after["rows"] - before["rows"] != case.rows:
        raise MeasurementFailed(f"{case.rows} rows were spooled, {after['rows'] - before['rows']} arrived")
    seconds = max(one["ended"] for one in told) - min(one["began"] for one in told)
    return {
        "shippers": case.shippers,
        "products": case.products,
        "rows": case.rows,
        "rows/s": case.rows / seconds,
        "waiting for each other %": 100 * statistics.mean(waits or [0]),
        "shipper CPU µs/row": sum(one["cpu_seconds"] for one in told) * 1e6 / case.rows,
        "heap bytes/row": (after["heap"] - before["heap"]) / case.rows,
        "index bytes/row": (after["indexes"] - before["indexes"]) / case.rows,
        "WAL bytes/row": (after["wal"] - before["wal"]) / case.rows,
    }


def _fill(room: Room, folder: Path, count: int, product: str) -> None:
    spool = Spool.open(folder, limit_bytes=1 << 40)
    now = time.time()
    rows = predictions(room.workload.payloads, count, tag=folder.name, started=now, product=product)
    for batch in batched(rows, BATCH_ROWS):
        spool.append("predictions", copy_text(batch), len(batch), now, lambda error: None)
    spool.close()


def _drain(database: Database, folders: list[Path]) -> list[dict[str, float]]:
    """All at once; what each says of its time."""
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
def _watched(database: Database) -> Iterator[list[float]]:
    """Share of the shippers that wait for a lock of Postgres, in [0, 1], looked at twenty times a second."""
    shares: list[float] = []
    over = threading.Event()

    def watch() -> None:
        with connect(database.url, name="watch", autocommit=True) as connection:
            while not over.wait(0.05):
                found = connection.execute(QUERIES["lock_waits"]).fetchone()
                if found and found[0] is not None:
                    shares.append(float(found[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield shares
    finally:
        over.set()
        watcher.join()


def _state(database: Database) -> dict[str, int]:
    found = database.connection.execute(QUERIES["log_size"]).fetchone()
    assert found is not None
    return dict(zip(("rows", "heap", "indexes", "wal"), map(int, found), strict=True))
