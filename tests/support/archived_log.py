"""A log of past days in Postgres, as shipping leaves it, and the archive over a bucket."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from psycopg.types.json import Jsonb

from archive import closing
from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Dataset
from archive.plan import CLOSED_AFTER
from runtime.postgres import Connection
from scoring.log.prediction import PairedPrediction, Prediction, copy_text
from scoring.log.store import prepare_shipping, ship
from tests.support.log_rows import lines_of, new_id, paired, prediction

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)


def run(connection: Connection, bucket: ArchiveBucket) -> list[closing.WrittenPart]:
    """Archive every closed day."""
    return closing.run(connection, bucket, now=NOW + CLOSED_AFTER)


def rows(bucket: ArchiveBucket, kind: Dataset = "log", product: str = "cards") -> list[dict[str, Any]]:
    """Return every row that the manifests of a product list."""
    found: list[dict[str, Any]] = []
    for folder in bucket.manifests(kind):
        if folder.product == product:
            for part in bucket.manifest(folder).parts:
                with bucket.local(folder, part) as path:
                    found += pq.read_table(path).to_pylist()
    return found


def add_version(connection: Connection, product: str, kinds: dict[str, str]) -> None:
    """Register a version whose signature has these fields; no artifact of it exists."""
    fields = [{"name": name, "kind": kind} for name, kind in kinds.items()]
    connection.execute(
        """
        INSERT INTO siramodel_registry (product, name, version, storage_s3_key, sha256, size_bytes, signature,
                                        thresholds)
        VALUES (%s, 'm', %s, 'key', repeat('a', 64), 1, %s, '{"review": 0.5, "block": 0.9}')
        """,
        (product, new_id(), Jsonb({"fields": fields})),
    )


def at(day: date, hour: float = 12.0) -> float:
    """Return a moment of a day in unix seconds."""
    return (datetime.combine(day, time(), UTC) + timedelta(hours=hour)).timestamp()


def days_ago(days: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=days)


def make_partitions(connection: Connection, first: date, last: date) -> None:
    connection.execute("SELECT sira_make_partitions(%s, %s)", (first, last))


def ship_rows(connection: Connection, rows: Sequence[Prediction], pairs: Sequence[PairedPrediction] = ()) -> None:
    """Ship rows as a worker does: with their hourly counts. `connection` is in autocommit mode."""
    prepare_shipping(connection)
    with connection.transaction():
        ship(connection, {**lines_of(rows), "paired": [copy_text(pairs)]})


def rows_of(day: date, count: int, *, prefix: str = "e", **values: Any) -> list[Prediction]:
    """Return predictions spread over a day."""
    return [prediction(f"{prefix}{n}", **{"created_at": at(day, 24 * n / count), **values}) for n in range(count)]


def pairs_of(rows: Sequence[Prediction]) -> list[PairedPrediction]:
    rollout = new_id()
    return [paired(row, rollout_id=rollout, phase=1) for row in rows]


def add_labels(connection: Connection, product: str, event_ids: Sequence[str], received_at: float) -> None:
    for event_id in event_ids:
        connection.execute(
            "INSERT INTO sira_labels (product, event_id, label, source, labelled_at, received_at)"
            " VALUES (%s, %s, 'fraud', 'chargeback', to_timestamp(%s), to_timestamp(%s))",
            (product, event_id, received_at, received_at),
        )


def add_reasons(connection: Connection, rows: Sequence[Prediction]) -> None:
    """Store reasons for predictions."""
    for row in rows:
        connection.execute(
            """
            INSERT INTO sira_prediction_reasons (prediction_id, day, created_at, product, model_id, decision,
                                                 background_sha256, method, scale, base, reasons)
            SELECT prediction_id, day, created_at, product, model_id, decision, '', 'exact', 'log_odds', 0.5,
                   '[{"field": "amount", "impact": 1.5}]'
            FROM sira_predictions WHERE prediction_id = %s
            """,
            (row.prediction_id,),
        )
