"""`python -m lab.benchmarks.archive`: rows per second that the archive writes, and the bytes of one event in it.

One day of the demo's payments with random event ids, as workers ship it. Postgres and the archiving process share the
machine; the figure is of the whole run: reading from Postgres, Parquet, reading back, and the manifest.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from uuid import UUID

import click
import numpy as np

from lab.benchmarks.rows import batched, predictions
from lab.demo.recipes import PRODUCT
from lab.demo.transactions import transactions
from lab.postgres import LocalPostgres
from lab.procfs import peak_mib
from migrations import runner
from runtime.postgres import Connection, connect
from scoring.log.prediction import Prediction, copy_text, prediction_id
from scoring.log.store import prepare_shipping, ship

SHIPPED_ROWS = 4_000
PAYLOADS = 100_000
SEED = 5


@click.command()
@click.option("--rows", type=click.IntRange(1_000), default=500_000, show_default=True, help="Rows of the day.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rows: int, as_json: bool) -> None:
    """Measure the archive."""
    with tempfile.TemporaryDirectory() as folder, LocalPostgres.start(Path(folder, "postgres"), durable=False) as local:
        url = local.create_database("sira")
        with connect(url, name="benchmark", autocommit=True, statement_timeout_ms=0) as connection:
            runner.up(connection)
            _fill(connection, rows)
        # Room for all archived files, as the bucket is a folder here.
        found = _archive(url, Path(folder, "bucket"), rows)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:<28}{value:>12,.1f}")


def _fill(connection: Connection, rows: int) -> None:
    """Ship yesterday's rows."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    prepare_shipping(connection)
    for batch in batched(_events(rows, midnight.timestamp()), SHIPPED_ROWS):
        with connection.transaction():
            ship(connection, {"predictions": [copy_text(batch)]})


def _events(rows: int, started: float) -> Iterator[Prediction]:
    """Yield rows whose event ids, times and scores compress as badly as real ones."""
    generator = np.random.default_rng(SEED)
    payloads = list(islice(transactions(min(rows, PAYLOADS), seed=SEED).payloads(), PAYLOADS))
    for row in predictions(payloads, rows, tag="e", started=started, product=PRODUCT):
        event_id = UUID(bytes=generator.bytes(16)).hex
        spread = generator.gamma(3.0, 0.001, 2)
        yield Prediction(
            **{
                **{name: getattr(row, name) for name in Prediction.__struct_fields__},
                "prediction_id": prediction_id(row.model_id, row.product, event_id, row.payload_sha256),
                "event_id": event_id,
                "routing_key": event_id,
                "score": float(np.float32(generator.beta(0.3, 10.0))),
                "latency_seconds": float(spread[0]),
                "model_seconds": float(spread[1]) / 10,
            }
        )


def _archive(url: str, bucket: Path, rows: int) -> dict[str, float]:
    environment = os.environ | {"DATABASE_URL": url, "MODEL_BUCKET": f"file://{bucket}"}
    words = [sys.executable, "-m", "archive", "run", "--json"]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, peak_mib(process.pid))
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert process.stdout is not None
    parts = [part for part in json.loads(process.stdout.read())["parts"] if part["kind"] == "log"]
    assert sum(part["rows"] for part in parts) == rows
    return {
        "rows": rows,
        "rows/s": rows / seconds,
        "rows per processor second": rows / processor_seconds,
        "bytes per event, Parquet": sum(part["bytes"] for part in parts) / rows,
        "bytes per event, all files": sum(path.stat().st_size for path in bucket.rglob("*") if path.is_file()) / rows,
        "peak MiB": peak,
    }


if __name__ == "__main__":
    main()
