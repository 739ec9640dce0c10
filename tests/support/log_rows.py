"""Rows of the prediction log to spool and to ship."""

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from runtime.postgres import connect
from scoring.log.frame import Target
from scoring.log.prediction import (
    ControlledPrediction,
    PairedPrediction,
    Prediction,
    copy_text,
    payload_sha256,
    prediction_id,
)
from scoring.log.spool import Spool, SpoolError
from scoring.log.store import prepare_shipping, ship

MODEL_ID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


def prediction(event_id: str = "e", **values: Any) -> Prediction:
    """An ordinary row, with these columns otherwise; its id follows from its event as it does in production."""
    payload: str = values.get("payload", '{"amount":100}')
    digest = payload_sha256(payload.encode())
    product, model_id = values.get("product", "cards"), values.get("model_id", MODEL_ID)
    known: dict[str, Any] = {
        "prediction_id": prediction_id(model_id, product, event_id, digest),
        "created_at": time.time(),
        "product": product,
        "event_id": event_id,
        "routing_key": event_id,
        "payload": payload,
        "payload_sha256": digest,
        "model_id": model_id,
        "model_version": "1",
        "artifact_sha256": "a" * 64,
        "runtime_version": "onnxruntime 1",
        "score": 0.25,
        "decision": "allow",
        "review_threshold": 0.5,
        "block_threshold": 0.9,
        "variant": "production",
        "arm": "production",
        "rollout_id": None,
        "phase": None,
        "cached": False,
        "latency_seconds": 0.004,
        "model_seconds": 0.002,
        "outcome": "ok",
    }
    return Prediction(**{**known, **values})


def paired(row: Prediction, **values: Any) -> PairedPrediction:
    """The other model's score of the row's event."""
    known: dict[str, Any] = {
        "prediction_id": row.prediction_id,
        "created_at": row.created_at,
        "rollout_id": row.rollout_id,
        "phase": row.phase,
        "product": row.product,
        "event_id": row.event_id,
        "amount": 100.0,
        "canary_score": 0.25,
        "canary_decision": "allow",
        "production_score": 0.25,
        "production_decision": "allow",
    }
    return PairedPrediction(**{**known, **values})


def lines_of(rows: Sequence[Prediction]) -> dict[Target, list[bytes]]:
    """Return predictions as the spool holds them: those with a propensity apart from the others."""
    lines: dict[Target, list[bytes]] = {}
    for row in rows:
        target: Target = "controlled" if isinstance(row, ControlledPrediction) else "predictions"
        lines.setdefault(target, []).append(copy_text([row]))
    return lines


def ship_rows(database_url: str, rows: Sequence[Prediction]) -> None:
    """Insert rows as the shipper does."""
    with connect(database_url, name="tests", autocommit=True) as shipping:
        prepare_shipping(shipping)
        with shipping.transaction():
            ship(shipping, lines_of(rows))


def append(spool: Spool, rows: Sequence[Any], target: Target = "predictions") -> None:
    """Spool rows as one batch and wait until they are durable."""
    committed: list[SpoolError | None] = []
    spool.append(target, copy_text(rows), len(rows), time.time(), committed.append)
    assert wait_until(lambda: bool(committed), 10)
    assert committed == [None]


def wait_until(true: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def new_id() -> str:
    return str(uuid4())
