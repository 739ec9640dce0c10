"""The one rule for what counts as a fraud probability."""

from typing import Any

import numpy as np

ScoreArray = np.ndarray[Any, np.dtype[np.float64]]

# Sums in float32 leave [0, 1] by about 1e-7 (scikit-learn #25932); a margin or an anomaly score leaves it by far more.
TOLERANCE = 1e-4


def as_probabilities(values: Any) -> ScoreArray:
    """Return `values` as float64 within [0, 1], NaN where they are no probability.

    A finite value at most TOLERANCE outside [0, 1] becomes the nearer bound. NaN, infinity and anything further
    outside become NaN. The shape is kept.
    """
    scores = np.asarray(values, dtype=np.float64)
    clamped: ScoreArray = np.minimum(np.maximum(scores, 0.0), 1.0)
    if (clamped != scores).any():  # NaN differs from itself
        clamped = np.where(np.abs(clamped - scores) <= TOLERANCE, clamped, np.nan)
    return clamped


def is_probability(score: float | None) -> bool:
    """Return whether a score from `as_probabilities` is one; None stands for a model that raised."""
    return score is not None and score == score
