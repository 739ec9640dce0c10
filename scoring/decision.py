"""From a score to a decision."""

from typing import Literal

from registry.model_version import Thresholds

Decision = Literal["allow", "review", "block"]


def decide(score: float, thresholds: Thresholds) -> Decision:
    """Return `block` at or above the block threshold, `review` at or above the review threshold, else `allow`."""
    if score >= thresholds.block:
        return "block"
    if score >= thresholds.review:
        return "review"
    return "allow"
