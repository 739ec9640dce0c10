"""The one rule for what counts as a fraud probability."""

from typing import Any

import numpy as np

ScoreArray = np.ndarray[Any, np.dtype[np.float64]]

# Sums in float32 leave [0, 1] by about 1e-7 (scikit-learn #25932); a margin or an anomaly score leaves it by far more.
TOLERANCE = 1e-4
# Up to here, Python's min and max are faster than numpy's calls.
_MAX_LISTED = 32


def as_probabilities(values: Any) -> ScoreArray:
    """Return `values` as float64 within [0, 1], NaN where they are not a probability.

    A finite value at most TOLERANCE outside [0, 1] becomes the nearer bound. NaN, infinity and anything further
    outside become NaN. The shape is kept.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim == 1 and 0 < scores.size <= _MAX_LISTED:
        listed = scores.tolist()
        # A NaN that min and max pass over stays a NaN; one that they return fails the comparison.
        if min(listed) >= 0.0 and max(listed) <= 1.0:
            return scores
    clamped: ScoreArray = np.minimum(np.maximum(scores, 0.0), 1.0)
    if (clamped != scores).any():  # NaN differs from itself
        clamped = np.where(np.abs(clamped - scores) <= TOLERANCE, clamped, np.nan)
    return clamped


def is_probability(score: float | None) -> bool:
    """Return whether a score from `as_probabilities` is one; None stands for a model that raised."""
    return score is not None and score == score
