"""From a score to a decision."""

from typing import Any, Literal, get_args

import numpy as np

from registry.model_version import Thresholds

Decision = Literal["allow", "review", "block"]
# In the order of their severity; `decide_all` returns indices into it.
DECISIONS: tuple[Decision, ...] = get_args(Decision)


def decide(score: float, thresholds: Thresholds) -> Decision:
    """Return `block` at or above the block threshold, `review` at or above the review threshold, else `allow`."""
    if score >= thresholds.block:
        return "block"
    if score >= thresholds.review:
        return "review"
    return "allow"


def after_breaker(decision: Decision) -> Decision:
    """Return the decision while the product's breaker has tripped: a block becomes a review, nothing else changes."""
    return "review" if decision == "block" else decision


def decide_all(scores: Any, thresholds: Thresholds) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Return what `decide` returns for each of an array of scores, as places in DECISIONS."""
    # backtest/tally/layout.py relies on both comparisons: a score at a threshold is on its upper side.
    decided: np.ndarray[Any, np.dtype[np.int8]] = (scores >= thresholds.review).astype(np.int8)
    decided[scores >= thresholds.block] = 2
    return decided
