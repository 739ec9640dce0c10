"""The reasons of a logged prediction, recomputed with the artifact that scored it: the same on every call."""

from time import perf_counter

import msgspec

from registry.store import get_version
from runtime import metrics
from runtime.postgres import Connection
from scoring.errors import ReasonsUnavailable
from scoring.log.store import StoredPrediction
from scoring.reasons.description import BackgroundUsed, PredictionReasons, base_value, with_value
from scoring.reasons.explainers import Explainers
from scoring.reasons.explanation import NotAdditive, additive


def explain_prediction(connection: Connection, explainers: Explainers, stored: StoredPrediction) -> PredictionReasons:
    """Return the reasons; raises ReasonsUnavailable, NotAdditive, and what Explainers.of raises."""
    if stored.score is None or stored.decision is None:
        raise ReasonsUnavailable("no model scored this event")
    explained = explainers.of(connection, get_version(connection, stored.model_id))
    payload = msgspec.json.decode(stored.payload)
    row = explained.feed.row(payload)
    started = perf_counter()
    impacts = explained.explainer.explain([row], [stored.prediction_id])
    metrics.observe_reasons(stored.product, impacts.method, perf_counter() - started, 1)
    if not additive(impacts, [stored.score]).all():
        metrics.reasons_not_additive.labels(stored.product).inc()
        raise NotAdditive
    (reasons,) = explained.reasons(impacts, [row])
    background = explained.background
    return PredictionReasons(
        prediction_id=stored.prediction_id,
        product=stored.product,
        model_id=stored.model_id,
        model_version=stored.model_version,
        artifact_sha256=stored.artifact_sha256,
        score=stored.score,
        decision=stored.decision,
        method=impacts.method,
        scale=impacts.scale,
        base=base_value(impacts.base, impacts.scale),
        background=BackgroundUsed(background.sha256, len(explained.rows), background.source),
        fields=[with_value(reason, payload.get(reason.field)) for reason in reasons],
    )
