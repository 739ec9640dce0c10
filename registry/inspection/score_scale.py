"""Scores that are right on another scale: classes swapped, log odds for probabilities, a line in log odds.

Only the scores are compared here; no row is scored again.
"""

import numpy as np

from registry.probability import ScoreArray

# A cause must explain this share of the rows.
EXPLAINED = 0.95
# Another scale moves nearly all scores.
_MAX_AGREEING = 0.2
# A line fits any two scores, and a few of them too easily.
_MIN_DISTINCT_SCORES = 10
# Beyond these a float32 probability does not hold its log odds well.
_INNER_SCORES = (1e-3, 1 - 1e-3)
_NEARLY = 0.01


def other_scale(expected: ScoreArray, scores: ScoreArray, tolerance: float) -> str | None:
    """Return in what way all scores are on another scale than the expected ones, or None."""
    with np.errstate(all="ignore"):
        return _other_meaning(expected, scores, tolerance) or _line_in_log_odds(expected, scores, tolerance)


def _other_meaning(expected: ScoreArray, scores: ScoreArray, tolerance: float) -> str | None:
    if ((expected < 0) | (expected > 1)).any():
        if _same(scores, _sigmoid(expected), tolerance):
            return "the expected scores are raw margins (log odds), the model gives probabilities: write probabilities"
        return "some expected scores are outside [0, 1]: write the probability of fraud"
    if _same(scores, 1.0 - expected, tolerance):
        return "each score is 1 - expected: the positive class is swapped; declare the other label with --positive"
    if _same(expected, _sigmoid(scores), tolerance):
        return "the model's output went through a sigmoid once too little: its raw margin lies within [0, 1] by chance"
    return None


def _line_in_log_odds(expected: ScoreArray, scores: ScoreArray, tolerance: float) -> str | None:
    """Each expected score's log odds are the served ones times a factor, plus a constant."""
    if float((np.abs(expected - scores) <= tolerance).mean()) > _MAX_AGREEING:
        return None
    lowest, highest = _INNER_SCORES
    inner = (scores > lowest) & (scores < highest) & (expected > lowest) & (expected < highest)
    served, wanted = _log_odds(scores[inner]), _log_odds(expected[inner])
    if len(np.unique(np.round(served, 4))) < _MIN_DISTINCT_SCORES:
        return None
    factor, constant = _median_line(served, wanted)
    if not _same(expected, _sigmoid(factor * _log_odds(scores) + constant), tolerance):
        return None
    if abs(factor - 1) < _NEARLY:
        return (
            f"the expected log odds are the model's plus {constant:.4g}: an initial score is lost (base_score, init), "
            "or the expected scores are corrected for sampling"
        )
    plus = "" if abs(constant) < _NEARLY else f" plus {constant:.4g}"
    return (
        f"the expected log odds are {factor:.4g} times the model's{plus}: the converter turns margins into "
        "probabilities in another way than the trainer"
    )


def _median_line(x: ScoreArray, y: ScoreArray) -> tuple[float, float]:
    """Return slope and intercept: medians over points half the range apart, so a few points may lie anywhere."""
    order = np.argsort(x)
    x, y = x[order], y[order]
    half = len(x) // 2
    rise, run = y[half:] - y[: len(y) - half], x[half:] - x[: len(x) - half]
    slope = float(np.median(rise[run > 0] / run[run > 0]))
    return slope, float(np.median(y - slope * x))


def _same(one: ScoreArray, other: ScoreArray, tolerance: float) -> bool:
    return float((np.abs(one - other) <= tolerance).mean()) >= EXPLAINED


def _sigmoid(margin: ScoreArray) -> ScoreArray:
    return 1.0 / (1.0 + np.exp(-margin))


def _log_odds(probability: ScoreArray) -> ScoreArray:
    return np.log(probability) - np.log1p(-probability)
