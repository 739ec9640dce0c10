"""The labels of a product, read once and shared by every process of a backtest."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from backtest.tally.labels import label_keys
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).parent / "queries.sql")
_ROWS = 50_000


def read_labels(connection: Connection, product: str, at: datetime) -> Any:
    """Return the sorted keys of the labels that events had at a time. `connection` is in a transaction."""

    def batches() -> Iterator[tuple[pa.Array, pa.Array]]:
        with connection.cursor(name="backtest_labels") as cursor:
            cursor.execute(QUERIES["labels"], {"product": product, "at": at})
            while rows := cursor.fetchmany(_ROWS):
                event_ids, fraud = zip(*rows, strict=True)
                yield pa.array(event_ids, pa.string()), pa.array(fraud, pa.bool_())

    return label_keys(batches())
