"""Cohorts made of events whose scores, labels and weights are known."""

from datetime import date
from typing import Any

import numpy as np

from monitoring.cohorts.layout import DECISIONS, SCORE_EDGES, Cohort, CohortLabel, CohortPlace, CohortTally

REVIEW, BLOCK = 0.5, 0.9
WEEK = date(2026, 8, 3)


def sums_of(
    scores: Any, frauds: Any, labelled: Any = True, *, weights: Any = 1.0, amounts: Any = 0.0
) -> dict[CohortPlace, CohortTally]:
    """Sum arrays of n events as the database does: `frauds` and `labelled` are truth values."""
    scores, frauds, labelled, weights, amounts = np.broadcast_arrays(
        np.asarray(scores, float), frauds, labelled, weights, amounts
    )
    bins = np.searchsorted(SCORE_EDGES, scores, side="right") - 1
    decided = (scores >= REVIEW).astype(int) + (scores >= BLOCK)
    kinds: dict[CohortLabel, Any] = {"any": True, "fraud": labelled & frauds, "legitimate": labelled & ~frauds}
    found: dict[CohortPlace, CohortTally] = {}
    for bin_, code in np.unique(np.stack([bins, decided]), axis=1).T.tolist():
        here = (bins == bin_) & (decided == code)
        for label, of_label in kinds.items():
            chosen = here & of_label
            s = scores[chosen]
            w, a = (np.ones(s.size), np.zeros(s.size)) if label == "any" else (weights[chosen], amounts[chosen])
            sums = [float(column.sum()) for column in (w, w * w, w * s, w * s * s, w * a, (w * a) ** 2)]
            if s.size:
                found[CohortPlace(bin_, DECISIONS[code], DECISIONS[code], label)] = CohortTally(s.size, *sums)
    return found


def cohort(
    sums: dict[CohortPlace, CohortTally], week: date = WEEK, *, model_id: str = "m", version: str = "1"
) -> Cohort:
    return Cohort(week, model_id, version, sums)
