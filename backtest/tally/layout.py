"""Where each counter is: cells of decisions and labels, and bins of scores."""

from functools import lru_cache
from typing import Any

import numpy as np

from registry.model_version import Thresholds
from scoring.decision import DECISIONS

# What the candidate does: a decision, or none because the payload does not fit it or it gave no probability.
AFTER = (*DECISIONS, "none")
NOT_SCORED = len(DECISIONS)
# Labels count when their event is old enough: earlier ones are biased towards what shows early.
LABELS = ("fraud", "legitimate", "unlabelled", "not matured")
FRAUD, LEGITIMATE, UNLABELLED, NOT_MATURED = range(4)
CELLS = len(DECISIONS) * len(AFTER) * len(LABELS)
# The counters of events that a control group might have let pass are named by this and their propensity.
CONTROLLED = "controlled "
# Amounts are counted in thousandths and scores in units of 2^-30, so that sums do not depend on an order.
AMOUNT_UNIT = 1_000
SCORE_UNIT = 1 << 30
BATCH_ROWS = 16_384
MAX_AMOUNT = 1e11  # of one event; with BATCH_ROWS of it, 64 bits do not overflow


def cell(before: Any, after: Any, label: Any) -> Any:
    """Return the place of an event's counter; arrays or numbers."""
    return (before * len(AFTER) + after) * len(LABELS) + label


@lru_cache
def score_edges(review: float, block: float) -> tuple[float, ...]:
    """Return the lower edges of the score bins: per mille, finer below the first, and both thresholds exactly."""
    fine = np.geomspace(1e-6, 1e-3, 61)[:-1]
    coarse = np.arange(1, 1_000) / 1_000
    return tuple(sorted({0.0, *fine.tolist(), *coarse.tolist(), review, block}))


def edges_of(thresholds: Thresholds) -> tuple[float, ...]:
    return score_edges(float(thresholds.review), float(thresholds.block))


def score_bins(scores: Any, edges: Any) -> Any:
    """Return the bin of each score: the last edge that is not above it.

    A score at a threshold is in the bin above it, as in both functions of scoring/decision.py.
    """
    return np.searchsorted(np.asarray(edges), scores, side="right") - 1
