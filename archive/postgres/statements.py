"""The statements of this room, and the tables behind the datasets."""

from pathlib import Path

from archive.parts.manifest import Dataset
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).parent / "queries.sql")
TIME_COLUMN: dict[Dataset, str] = {
    "log": "created_at",
    "paired": "created_at",
    "labels": "received_at",
    "reasons": "created_at",
}
TABLE: dict[Dataset, str] = {
    "log": "sira_predictions",
    "paired": "sira_paired_predictions",
    "labels": "sira_labels",
    "reasons": "sira_prediction_reasons",
}
