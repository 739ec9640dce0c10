"""What an explanation is, on which scale it adds up, and when it is wrong."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Method = Literal["exact", "linear", "sampled"]
Scale = Literal["log_odds", "probability"]
Array = np.ndarray[Any, np.dtype[np.float64]]

# How far `base + sum of impacts` may be from the model's margin.
MAX_GAP = 1e-4
# What a float32 probability near 1 can be wrong by: two units in the last place.
_PROBABILITY_STEP = 2.0**-22


class NotAdditive(Exception):
    """The impacts do not add up to the score, so that no explanation is given."""

    def __init__(self) -> None:
        super().__init__(
            f"the impacts do not add up to the logged score within {MAX_GAP:g}, so that they are not given;"
            " sira_reasons_not_additive_total counts this"
        )


@dataclass(frozen=True, slots=True)
class Impacts:
    """Shapley values of n events. `values` is (n, fields) on `scale`; `errors` likewise, None where they are exact."""

    method: Method
    scale: Scale
    base: float
    values: Array
    errors: Array | None = None

    def sums(self) -> Array:
        """Return the margins that base and impacts add up to: (n,)."""
        return np.asarray(self.base + self.values.sum(axis=1))


def to_probability(margins: Any, scale: Scale) -> Array:
    """Return the probabilities of margins on `scale`."""
    margins = np.asarray(margins, dtype=np.float64)
    if scale == "probability":
        return np.asarray(margins)
    small = np.exp(-np.abs(margins))
    return np.asarray(np.where(margins >= 0, 1.0, small) / (1.0 + small))


def to_log_odds(probability: float) -> float:
    """Return the log odds; infinite for 0 and 1."""
    if probability <= 0.0 or probability >= 1.0:
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)


def additive(impacts: Impacts, scores: Any) -> Any:
    """Return for each event whether base and impacts add up to the score's margin: (n,) bool.

    The margin is compared within MAX_GAP, and the float32 rounding of a probability is allowed for: near 0 and 1 one
    step of it is more than MAX_GAP of log odds.
    """
    sums = impacts.sums()
    low = to_probability(sums - MAX_GAP, impacts.scale) - _PROBABILITY_STEP
    high = to_probability(sums + MAX_GAP, impacts.scale) + _PROBABILITY_STEP
    given = np.asarray(scores, dtype=np.float64)
    return (low <= given) & (given <= high)
