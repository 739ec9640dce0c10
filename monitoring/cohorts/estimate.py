"""Precision and recall before labels arrive, from calibrated scores: confidence-based performance estimation. Pure.

A calibrated score is the probability of fraud, so the expected confusion matrix of a cohort is a sum of scores: each
event at or above the threshold adds p to the true positives and 1 - p to the false ones, each event below it adds p to
the false negatives. The method is NannyML's CBPE, as its documentation describes it under "How it works".
It holds while the share of fraud at a given score stays what it was: it sees a change of the inputs, and cannot see a
change of what is fraud (concept shift).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import msgspec

from canary.intervals import NOTHING, Estimate
from monitoring.cohorts.layout import CohortSums, CohortTally, CohortThreshold, known, labelled_by, total

# Fewer labels than these do not say how far scores are from probabilities.
MIN_LABELLED = 1_000
MIN_FRAUDS = 50
# Where most events have no label, those that have one are no sample of all.
MIN_LABELLED_SHARE = 0.5
_Z = 1.959963984540054

CalibrationKind = Literal["isotonic", "raw"]


class EstimatedQuality(msgspec.Struct, frozen=True):
    """What a cohort's labels will probably say at a threshold; the intervals are those of chance alone."""

    precision: Estimate
    recall: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """A probability by score that never falls: linear between `scores`, constant outside. Lists of equal length."""

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def probability(self, score: float) -> float:
        place = bisect_right(self.scores, score)
        if place == 0 or place == len(self.scores):
            return self.probabilities[max(0, place - 1)]
        x0, x1 = self.scores[place - 1 : place + 1]
        y0, y1 = self.probabilities[place - 1 : place + 1]
        return y0 + (y1 - y0) * (score - x0) / (x1 - x0)


def calibrate(matured: CohortSums) -> Calibration | None:
    """Return the calibration that matured events show, or None if too few of them are labelled.

    Isotonic regression of the share of fraud on the mean score, over score bins (Zadrozny and Elkan, 2002).
    """
    events = total(matured, lambda place: not known(place)).events
    by_bin = [tallies for _, tallies in sorted(labelled_by(matured, lambda place: place.score_bin).items())]
    labelled, frauds = (sum(tallies[place].events for tallies in by_bin) for place in (0, 1))
    if labelled < max(MIN_LABELLED, MIN_LABELLED_SHARE * events) or frauds < MIN_FRAUDS:
        return None
    return isotonic(
        [(some.score / some.weight, fraud.weight / some.weight, some.weight) for some, fraud in by_bin if some.weight]
    )


def isotonic(points: Sequence[tuple[float, float, float]]) -> Calibration:
    """Return the least-squares fit that never falls to (x, y, weight) in order of x: pool adjacent violators."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, points
    for _, y, weight in points:
        mean, heavy, count = y, weight, 1
        while blocks and blocks[-1][0] >= mean:
            other, more, joined = blocks.pop()
            mean = (mean * heavy + other * more) / (heavy + more)
            heavy, count = heavy + more, count + joined
        blocks.append((mean, heavy, count))
    fitted = [mean for mean, _, count in blocks for _ in range(count)]
    return Calibration(tuple(x for x, _, _ in points), tuple(fitted))


def estimated_quality(
    sums: CohortSums, threshold: CohortThreshold, calibration: Calibration | None
) -> EstimatedQuality:
    """Return expected precision and recall at a threshold; without a calibration, scores are taken as probabilities."""
    above, frauds_above, variance_above = _expected(sums, threshold, True, calibration)
    _, frauds_below, variance_below = _expected(sums, threshold, False, calibration)
    frauds = frauds_above + frauds_below
    precision = recall = NOTHING
    if above:
        precision = _within(frauds_above / above, sqrt(variance_above) / above)
    if frauds:
        # The delta method for a / (a + b) with independent a and b.
        variance = frauds_below**2 * variance_above + frauds_above**2 * variance_below
        recall = _within(frauds_above / frauds, sqrt(variance) / frauds**2)
    return EstimatedQuality(precision, recall)


def _expected(
    sums: CohortSums, threshold: CohortThreshold, reached: bool, calibration: Calibration | None
) -> tuple[int, float, float]:
    """Return the events on one side of a threshold, and the mean and the variance of the number of frauds in them."""
    chosen = [
        tally
        for place, tally in sums.items()
        if not known(place) and place.reaches(threshold) == reached and tally.events
    ]
    pairs = [_frauds(tally, calibration) for tally in chosen]
    return sum(t.events for t in chosen), sum(mean for mean, _ in pairs), sum(spread for _, spread in pairs)


def _frauds(tally: CohortTally, calibration: Calibration | None) -> tuple[float, float]:
    if calibration is None:
        return tally.score, max(0.0, tally.score - tally.score_squares)
    p = calibration.probability(tally.score / tally.events)
    return tally.events * p, tally.events * p * (1 - p)


def _within(value: float, deviation: float) -> Estimate:
    return Estimate(value, max(0.0, value - _Z * deviation), min(1.0, value + _Z * deviation))
