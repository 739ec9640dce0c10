"""Rollouts in a database of a test's own: two versions, a start, verdicts as the controller stores them."""

from typing import Any
from uuid import uuid4

from canary.judge.measurement import Measurement
from canary.rollout import operations
from canary.rollout.request import CanaryToStart
from canary.rollout.store import StoredRollout, jsonb
from registry.model_version import ModelVersion, NewVersion, Status, Thresholds
from registry.signature import Field, Signature
from registry.store import change_status, insert_version
from runtime.postgres import Connection
from runtime.reading import read

SIGNATURE = Signature("columns", (Field("amount", "float"),), "score", "probability")
PLAN = {
    "name": "test",
    "steps": [{"percent": 10, "bake_seconds": 60}, {"percent": 50, "bake_seconds": 0, "gate": "manual"}],
}


def add_version(connection: Connection, product: str, version: str, status: Status = Status.STAGING) -> ModelVersion:
    """Register a version without an artifact, and give it a status."""
    new = NewVersion(product, "gbm", version, "sha256/a.onnx", "a" * 64, 1, SIGNATURE, Thresholds(0.5, 0.9), {})
    with connection.transaction():
        made, _ = insert_version(connection, new, actor="tests")
        return change_status(connection, made.model_id, status, actor="tests").version


def start_rollout(connection: Connection, product: str = "cards", **fields: Any) -> StoredRollout:
    """Register a production version and a canary, and start a rollout."""
    add_version(connection, product, "1", Status.PRODUCTION)
    canary = add_version(connection, product, "2")
    body = {"product": product, "canary_percent": 10, "canary_model_id": canary.model_id, "plan": PLAN, **fields}
    with connection.transaction():
        return operations.start_or_change(connection, read(CanaryToStart, body), actor="ana")[0]


def add_verdicts(
    connection: Connection, rollout: StoredRollout, count: int, kind: str = "continue", *measurements: Measurement
) -> None:
    """Store verdicts every five seconds up to now."""
    measured = measurements or (
        Measurement("error_ratio", "pass", "errors are rare", 1.1, 1.5, "ratio", 0.5, 250.0),
        Measurement("fuse", "pass", "no serving process has tripped its fuse", 0, 0, "trips"),
    )
    connection.execute(
        "INSERT INTO sira_canary_verdicts (rollout_id, phase, verdict, action, reasons, measurements, inputs,"
        " evidence_from, evidence_through, judged_at) SELECT %s, %s, %s, %s, %s, %s, '{}', now(), now(),"
        " now() - (%s - n) * interval '5 s' FROM generate_series(1, %s) AS n",
        (
            rollout.rollout_id,
            rollout.phase,
            kind,
            kind,
            jsonb(("the reason",)),
            jsonb(measured),
            count,
            count,
        ),
    )


def add_pairs(connection: Connection, rollout: StoredRollout) -> None:
    """Store one flip, and what both models decided in all."""
    connection.execute(
        "INSERT INTO sira_paired_predictions (prediction_id, day, created_at, rollout_id, phase, product, event_id,"
        " amount, canary_score, canary_decision, production_score, production_decision)"
        " VALUES (%s, (now() AT TIME ZONE 'UTC')::date, now(), %s, 0, %s, 'flipped-event',"
        " 4711.5, 0.95, 'block', 0.2, 'allow')",
        (uuid4(), rollout.rollout_id, rollout.product),
    )
    connection.execute(
        "INSERT INTO sira_canary_paired_evidence (rollout_id, phase, bucket_start, n10, n00, decision_flips)"
        " VALUES (%s, 0, now(), 1, 99, 1)",
        (rollout.rollout_id,),
    )
