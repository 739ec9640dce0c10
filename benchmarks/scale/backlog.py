"""What Postgres takes when it was away: a full spool drained, by one shipper and by several."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.rows import batched, predictions
from benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth
from benchmarks.scale.room import Database, Room
from scoring.prediction import copy_text
from scoring.spool import Spool

BATCH_ROWS = 16  # as 32 connections at full rate make them


def measure(room: Room) -> Finding:
    many = 40_000 if room.quick else 240_000
    cases = ((1, many // 4), (1, many), (2, many), (4, many))
    with room.database() as database:
        rows = tuple(_row(room, database, number, *case) for number, case in enumerate(cases))
    by_shippers = rows[1:]
    return Finding(
        "A backlog drained into Postgres",
        f"Spools of {BATCH_ROWS} rows a batch, each shipper a process with a spool of its own, one product, Postgres 18"
        " with its default settings and fsync on, all on the same two cores. Bytes include indexes, the hourly sums and"
        " the evidence; WAL includes the full pages after a checkpoint.",
        rows,
        (growth(rows[:2], "rows", "rows/s"), growth(by_shippers, "shippers", "rows/s")),
    )


def _row(room: Room, database: Database, number: int, shippers: int, rows: int) -> Row:
    room.say(f"{rows:,} rows, {shippers} shippers")
    folders = [room.folder / f"spool-{number}-{shipper}" for shipper in range(shippers)]
    for folder in folders:
        _fill(room, folder, rows // shippers)
    before = _state(database)
    told = _drain(database, folders)
    after = _state(database)
    if after["rows"] - before["rows"] != rows:
        raise MeasurementFailed(f"{rows} rows were spooled, {after['rows'] - before['rows']} arrived")
    seconds = max(one["ended"] for one in told) - min(one["began"] for one in told)
    return {
        "shippers": shippers,
        "rows": rows,
        "rows/s": rows / seconds,
        "shipper CPU µs/row": sum(one["cpu_seconds"] for one in told) * 1e6 / rows,
        "heap bytes/row": (after["heap"] - before["heap"]) / rows,
        "index bytes/row": (after["indexes"] - before["indexes"]) / rows,
        "WAL bytes/row": (after["wal"] - before["wal"]) / rows,
    }


def _fill(room: Room, folder: Path, rows: int) -> None:
    spool = Spool.open(folder, limit_bytes=1 << 40)
    now = time.time()
    for batch in batched(predictions(room.workload.payloads, rows, tag=folder.name, started=now), BATCH_ROWS):
        spool.append("predictions", copy_text(batch), len(batch), now, lambda error: None)
    spool.close()


def _drain(database: Database, folders: list[Path]) -> list[dict[str, float]]:
    """All at once; what each says of its time."""
    command = [sys.executable, "-m", "benchmarks.scale.drain"]
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


def _state(database: Database) -> dict[str, int]:
    found = database.connection.execute(
        "SELECT (SELECT count(*) FROM sira_predictions), sum(pg_table_size(inhrelid))::bigint,"
        " sum(pg_indexes_size(inhrelid))::bigint, pg_current_wal_lsn() - '0/0'"
        " FROM pg_inherits WHERE inhparent = 'sira_predictions'::regclass"
    ).fetchone()
    assert found is not None
    return dict(zip(("rows", "heap", "indexes", "wal"), map(int, found), strict=True))
