"""A closed day in the demo's log: payments that a version scores as a worker does, shipped, labelled and archived."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from archive import closing
from archive.errors import ArchiveBusy
from archive.parts.bucket import ArchiveBucket
from archive.plan import newest_closed
from lab.demo.transactions import transactions
from lab.http import Client
from lab.load.callers import Payload
from lab.waiting import wait_until
from registry.artifacts import ArtifactStore, open_backend
from registry.model_session import RUNTIME_VERSION, ModelSession
from registry.model_version import ModelVersion
from runtime.postgres import Connection, connect
from scoring.decision import decide
from scoring.log.prediction import Prediction, copy_text, payload_sha256, prediction_id
from scoring.log.store import prepare_shipping, ship

ROWS_PER_SHIPMENT = 5_000
_LABELS_PER_REQUEST = 5_000
_ARCHIVED_SECONDS = 120.0
_DAY = timedelta(days=1)


def answered(version: ModelVersion, payload: Payload, score: float, event_id: str, at: float) -> Prediction:
    """Return the row of an event that a version answered at a time (epoch seconds)."""
    canonical = msgspec.json.encode(payload, order="sorted")
    digest = payload_sha256(canonical)
    return Prediction(
        prediction_id=prediction_id(version.model_id, version.product, event_id, digest),
        created_at=at,
        product=version.product,
        event_id=event_id,
        routing_key=event_id,
        payload=canonical.decode(),
        payload_sha256=digest,
        model_id=version.model_id,
        model_version=version.version,
        artifact_sha256=version.sha256,
        runtime_version=RUNTIME_VERSION,
        score=score,
        decision=decide(score, version.thresholds),
        review_threshold=version.thresholds.review,
        block_threshold=version.thresholds.block,
        variant="production",
        arm="production",
        rollout_id=None,
        phase=None,
        cached=False,
        latency_seconds=0.002,
        model_seconds=0.001,
        outcome="ok",
    )


def log_closed_day(
    database_url: str, operator: Client, version: ModelVersion, artifacts: ArtifactStore, events: int, prefix: str
) -> datetime:
    """Log and label `events` payments of the newest closed day (UTC) as answered by `version`; return its start."""
    payments = transactions(events, seed=271)
    payloads = list(payments.payloads())
    with tempfile.TemporaryDirectory(prefix="sira-demo-") as folder:
        artifact = artifacts.fetch(version.storage_s3_key, version.sha256, version.size_bytes, Path(folder))
        session = ModelSession(version.signature, artifact)
    scores = session.score([session.feed.row(payload) for payload in payloads]).tolist()
    start = datetime.combine(newest_closed(datetime.now(UTC)), time(), UTC)
    seconds = np.linspace(start.timestamp(), (start + _DAY).timestamp(), events, endpoint=False).tolist()
    rows = [
        answered(version, payload, score, f"{prefix}/{number}", at)
        for number, (payload, score, at) in enumerate(zip(payloads, scores, seconds, strict=True))
    ]
    with connect(database_url, name="demo-history", autocommit=True) as connection:
        connection.execute("SELECT sira_make_partitions(%s, %s)", (start.date(), start.date()))
        _ship(connection, rows)
    labels = [_label(row, bool(fraud)) for row, fraud in zip(rows, payments.fraud, strict=True)]
    for first in range(0, events, _LABELS_PER_REQUEST):
        operator.post("/v1/labels", labels[first : first + _LABELS_PER_REQUEST])
    return start


def archive_closed_days(database_url: str, model_bucket: str) -> int:
    """Archive every closed day that is not; return how many rows were added. Waits for a process that does the same."""
    written: list[closing.WrittenPart] = []

    def archive() -> bool:
        try:
            with connect(database_url, name="demo-archive", autocommit=True, statement_timeout_ms=0) as connection:
                written.extend(
                    closing.run(connection, ArchiveBucket(open_backend(model_bucket)), now=datetime.now(UTC))
                )
        except ArchiveBusy:
            return False
        return True

    wait_until(archive, _ARCHIVED_SECONDS, "the archive is free")
    return sum(part.rows for part in written)


def _ship(connection: Connection, rows: Sequence[Prediction]) -> None:
    prepare_shipping(connection)
    for first in range(0, len(rows), ROWS_PER_SHIPMENT):
        with connection.transaction():
            ship(connection, {"predictions": [copy_text(rows[first : first + ROWS_PER_SHIPMENT])]})


def _label(row: Prediction, fraud: bool) -> dict[str, Any]:
    return {
        "event_id": row.event_id,
        "product": row.product,
        "label": "fraud" if fraud else "legitimate",
        "source": "make-demo",
        "labelled_at": datetime.now(UTC).isoformat(),
    }
