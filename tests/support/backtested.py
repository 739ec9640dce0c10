"""A product with a log: two trained versions, payments that the first one answered, and labels for some of them."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from backtest.figures.description import Quality
from lab.demo.history import answered
from lab.demo.recipes import Recipe
from lab.demo.train import train
from lab.demo.transactions import transactions
from registry.artifacts import open_store
from registry.model_session import ModelSession
from registry.model_version import ModelVersion, Status
from registry.registration import Declaration, register
from registry.store import change_status
from runtime.postgres import Connection
from scoring.log.prediction import Prediction
from tests.support.archived_log import ship_rows

PRODUCT = "cards"
RECIPES = (
    Recipe("1", trees=20, depth=3, learning_rate=0.2, rows=4_000, seed=5),
    Recipe("2", trees=30, depth=3, learning_rate=0.2, rows=4_000, seed=6),
)


@dataclass(frozen=True)
class LoggedProduct:
    """`payments` are the payloads of `rows`, in order; `fraud` what they truly are."""

    production: ModelVersion
    candidate: ModelVersion
    rows: Sequence[Prediction]
    payloads: Sequence[dict[str, Any]]
    fraud: np.ndarray[Any, Any]


@cache
def _trained(recipe: Recipe) -> bytes:
    return train(recipe).onnx


def add_product(connection: Connection, model_bucket: str) -> tuple[ModelVersion, ModelVersion]:
    """Register both versions; the first goes to production."""
    artifacts = open_store(model_bucket)
    versions = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in RECIPES:
            path = Path(folder, f"{recipe.version}.onnx")
            path.write_bytes(_trained(recipe))
            declaration = Declaration(PRODUCT, "gbm", recipe.version)
            versions.append(register(connection, artifacts, path, declaration, actor="tests").version)
    with connection.transaction():
        change_status(connection, versions[0].model_id, Status.PRODUCTION, actor="tests")
    return versions[0], versions[1]


def session_of(version: ModelVersion, recipe: Recipe) -> ModelSession:
    return ModelSession(version.signature, _trained(recipe))


def add_log(
    connection: Connection, model_bucket: str, events: int, *, days: int = 3, extra: Mapping[str, str] | None = None
) -> LoggedProduct:
    """Add a product, and payments of the last days that its production version answered. Autocommit mode.

    `extra`: fields that payloads have and no model reads.
    """
    production, candidate = add_product(connection, model_bucket)
    payments = transactions(events, seed=77)
    payloads = [{**payload, **(extra or {})} for payload in payments.payloads()]
    session = session_of(production, RECIPES[0])
    scores = session.score([session.feed.row(payload) for payload in payloads]).tolist()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=days)
    connection.execute("SELECT sira_make_partitions(%s, %s)", (start.date(), today.date()))
    times = [(start + timedelta(days=days * place / events)).timestamp() for place in range(events)]
    rows = [
        answered(production, payload, score, f"event-{place}", at)
        for place, (payload, score, at) in enumerate(zip(payloads, scores, times, strict=True))
    ]
    ship_rows(connection, rows)
    return LoggedProduct(production, candidate, rows, payloads, payments.fraud)


def label(connection: Connection, logged: LoggedProduct, places: Sequence[int]) -> None:
    """Label these events with what they are."""
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY sira_labels (product, event_id, label, source, labelled_at) FROM STDIN") as copy,
    ):
        for place in places:
            is_fraud = "fraud" if logged.fraud[place] else "legitimate"
            copy.write_row((PRODUCT, logged.rows[place].event_id, is_fraud, "tests", datetime.now(UTC)))


def assert_quality_is_scikit_learns(
    found: Quality, fraud: np.ndarray[Any, Any], positive: np.ndarray[Any, Any]
) -> None:
    """Compare a report's figures with scikit-learn's, of labels and decisions by event."""
    tn, fp, fn, tp = confusion_matrix(fraud, positive).ravel()
    counts = (found.true_negatives, found.false_positives, found.false_negatives, found.true_positives)
    assert counts == (tn, fp, fn, tp), f"{counts} is not {(tn, fp, fn, tp)}"
    assert found.precision.value == pytest.approx(precision_score(fraud, positive))
    assert found.recall.value == pytest.approx(recall_score(fraud, positive))
    assert found.false_positive_rate.value == pytest.approx(fp / (fp + tn))
