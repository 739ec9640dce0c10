"""Days of the prediction log in Postgres, as workers ship them, whose values compress as badly as real ones."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from itertools import islice
from uuid import UUID

import numpy as np

from lab.benchmarks.rows import batched, predictions
from lab.demo.recipes import PRODUCT
from lab.demo.transactions import transactions
from runtime.postgres import Connection
from scoring.log.prediction import Prediction, copy_text, prediction_id
from scoring.log.store import prepare_shipping, ship

_SHIPPED_ROWS = 4_000
_PAYLOADS = 100_000
_SEED = 5
# Every so many events has a label.
_LABELLED = 50


def fill(connection: Connection, day: date, rows: int) -> None:
    """Ship a day's rows and add labels for some. `connection` is in autocommit mode."""
    connection.execute("SELECT sira_make_partitions(%s, %s)", (day, day))
    prepare_shipping(connection)
    started = datetime.combine(day, time(), UTC).timestamp()
    for batch in batched(_events(rows, started), _SHIPPED_ROWS):
        with connection.transaction():
            ship(connection, {"predictions": [copy_text(batch)]})
        with connection.cursor() as cursor, cursor.copy(
            "COPY sira_labels (product, event_id, label, source, labelled_at) FROM STDIN"
        ) as copy:  # fmt: skip
            for row in batch[::_LABELLED]:
                label = "fraud" if row.decision == "block" else "legitimate"
                copy.write_row((PRODUCT, row.event_id, label, "benchmarks", datetime.now(UTC)))


def _events(rows: int, started: float) -> Iterator[Prediction]:
    """Yield rows with random event ids, scores and latencies."""
    generator = np.random.default_rng(_SEED)
    payloads = list(islice(transactions(min(rows, _PAYLOADS), seed=_SEED).payloads(), _PAYLOADS))
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
