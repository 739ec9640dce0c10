"""A score becomes a decision."""

from typing import Literal

from registry.model_version import Thresholds

Decision = Literal["allow", "review", "block"]


def decide(score: float, thresholds: Thresholds) -> Decision:
    """`block` from the block threshold up, `review` from the review threshold up, else `allow`."""
    if score >= thresholds.block:
        return "block"
    if score >= thresholds.review:
        return "review"
    return "allow"
