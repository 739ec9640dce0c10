"""Reasons in an answer, for a caller who must show something at once: the four fields with the largest impact."""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from registry.feed import Row
from runtime import metrics
from runtime.reading import InputInvalid, Violation
from scoring.log.prediction import Prediction
from scoring.reasons.description import FieldReason
from scoring.reasons.explainers import ExplainedVersion
from scoring.reasons.explanation import additive
from scoring.reasons.worker.ready import ReadyExplainers

log = logging.getLogger("sira.scoring.reasons.at_once")

TOP = 4
# An explanation that takes longer would delay the answers to other callers: it runs on the event loop.
MAX_SECONDS = 0.005


class Answered(NamedTuple):
    """A scored event: `row` is its payload as the version that answered read it."""

    row: Row
    prediction: Prediction


def refuse_sampled(ready: ReadyExplainers, model_id: str) -> None:
    """Raise InputInvalid for a version that is explained by sampling, which takes many runs of the model."""
    explained = ready.get(model_id)
    if explained is not None and explained.explainer.method == "sampled":
        raise InputInvalid(
            [
                Violation(
                    "/reasons",
                    "is not possible for this product: its model is explained by sampling, which takes too long for an"
                    " answer; ask GET /v1/predictions/{prediction_id}/reasons afterwards",
                )
            ]
        )


def top_reasons(ready: ReadyExplainers, events: Sequence[Answered]) -> list[list[FieldReason] | None]:
    """Return the reasons of each event; None where its version is not ready or too slow, or they do not add up.

    A decision is worth more than its reasons: nothing is raised here, and nothing is waited for.
    """
    found: list[list[FieldReason] | None] = [None] * len(events)
    groups: dict[str, list[int]] = {}
    for place, event in enumerate(events):
        if event.prediction.score is not None:
            groups.setdefault(event.prediction.model_id, []).append(place)
    for model_id, places in groups.items():
        explained = ready.get(model_id)
        if explained is None or explained.seconds > MAX_SECONDS:
            continue
        try:
            for place, reasons in zip(places, _explain(explained, [events[p] for p in places]), strict=True):
                found[place] = reasons
        except Exception:
            log.exception("reasons_failed", extra={"model_id": model_id})
    return found


def _explain(explained: ExplainedVersion, events: Sequence[Answered]) -> list[list[FieldReason] | None]:
    started = time.perf_counter()
    impacts = explained.explainer.explain(
        [event.row for event in events], [event.prediction.prediction_id for event in events]
    )
    product = explained.version.product
    metrics.observe_reasons(product, impacts.method, time.perf_counter() - started, len(events))
    good = additive(impacts, [event.prediction.score for event in events]).tolist()
    if wrong := good.count(False):
        metrics.reasons_not_additive.labels(product).inc(wrong)
    found = explained.reasons(impacts, [event.row for event in events], TOP)
    return [reasons if is_good else None for reasons, is_good in zip(found, good, strict=True)]
