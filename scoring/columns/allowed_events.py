"""Events of one batch that one model allowed: their rows and their answers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scoring.batching import ScoredRows
from scoring.columns.event_columns import EventColumns, picked
from scoring.decision import DECISIONS, decide_all
from scoring.job import Answer
from scoring.log.prediction import Prediction, PredictionColumns, payload_sha256, prediction_ids

_ALLOW = DECISIONS.index("allow")


class AllowedEvents(NamedTuple):
    """`row` is the first one's, `columns` what differs from row to row."""

    events: EventColumns
    row: Prediction
    columns: PredictionColumns

    @classmethod
    def of(cls, events: EventColumns, scored: ScoredRows, allowed: Sequence[int], row: Prediction) -> "AllowedEvents":
        """Take the events at the positions `allowed`; `row` is that of the first of them."""
        chosen = events.of(allowed)
        digests = [payload_sha256(text) for text in chosen.texts]
        columns = PredictionColumns(
            prediction_ids=prediction_ids(row.model_id, row.product, chosen.event_ids, digests),
            event_ids=chosen.event_ids,
            routing_keys=chosen.routing_keys,
            payloads=chosen.texts,
            digests=digests,
            scores=[score for score in picked(scored.scores, allowed) if score is not None],
            cached=picked(scored.cached, allowed),
            model_seconds=picked(scored.model_seconds, allowed),
        )
        return cls(chosen, row, columns)

    def copy_text(self) -> bytes:
        return self.columns.copy_text(self.row)

    def answers(self) -> list[Answer]:
        row, columns = self.row, self.columns
        return [
            Answer(prediction_id, score, "allow", row.model_id, row.model_version, row.variant, cached)
            for prediction_id, score, cached in zip(columns.prediction_ids, columns.scores, columns.cached, strict=True)
        ]


def allowed_positions(events: EventColumns, scored: ScoredRows) -> list[int]:
    """Return the positions of the events that production allows."""
    scores = np.array(scored.scores, np.float64)  # None becomes NaN
    allowed = (decide_all(scores, events.slot.production.version.thresholds) == _ALLOW) & ~np.isnan(scores)
    found: list[int] = np.flatnonzero(allowed).tolist()
    return found
