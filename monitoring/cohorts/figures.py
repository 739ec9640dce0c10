"""How decisions fared against the labels that are known: confusion figures, Brier score and reliability. Pure.

Precision, recall and false-positive rate are those of any binary classifier, with a score at or above a threshold as
the positive class; labelled events count by their weights. Brier (1950): the mean squared difference between score and
outcome. Reliability: Murphy and Winkler (1977), in ten bins of equal width.
"""

import msgspec

from canary.intervals import Estimate, amount, share, weighted_share
from monitoring.cohorts.layout import (
    CohortLabel,
    CohortSums,
    CohortTally,
    CohortThreshold,
    known,
    labelled_by,
    total,
)

_TENTHS = 10


class ObservedQuality(msgspec.Struct, frozen=True):
    """How scores at or above a threshold fared, among labelled events; amounts are those of fraud."""

    precision: Estimate
    recall: Estimate
    false_positive_rate: Estimate
    amount_caught: Estimate
    amount_missed: Estimate


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Labelled events with scores from `low` to below `high`: the mean score should be the share of fraud."""

    low: float
    high: float
    events: int
    mean_score: float
    fraud: Estimate


def observed_quality(sums: CohortSums, threshold: CohortThreshold) -> ObservedQuality:
    """Return precision, recall and the false-positive rate at a threshold, with intervals of 95 %."""

    def of(label: CohortLabel | None, reached: bool | None) -> CohortTally:
        return total(
            sums,
            lambda place: (
                known(place)
                and (label is None or place.label == label)
                and (reached is None or place.reaches(threshold) == reached)
            ),
        )

    caught, missed, wrong = of("fraud", True), of("fraud", False), of("legitimate", True)
    return ObservedQuality(
        precision=_share(caught, of(None, True)),
        recall=_share(caught, of("fraud", None)),
        false_positive_rate=_share(wrong, of("legitimate", None)),
        amount_caught=amount(caught.amount, caught.amount_squares, 1),
        amount_missed=amount(missed.amount, missed.amount_squares, 1),
    )


def alert_rate(sums: CohortSums) -> Estimate:
    """Return the share of all events that were answered with review or block."""
    events = total(sums, lambda place: not known(place)).events
    return share(total(sums, lambda place: not known(place) and place.answered != "allow").events, events)


def brier_score(sums: CohortSums) -> float | None:
    """Return the mean squared difference between score and outcome of labelled events; None without any."""
    labelled = total(sums, known)
    if not labelled.weight:
        return None
    fraud = total(sums, lambda place: place.label == "fraud")
    # (s - 1)^2 = s^2 - 2 s + 1 for fraud, s^2 for legitimate events; rounding must not make it negative.
    return max(0.0, labelled.score_squares - 2 * fraud.score + fraud.weight) / labelled.weight


def reliability(sums: CohortSums) -> list[ReliabilityBin]:
    """Return ten bins of equal width, without those that have no labelled event."""
    return [
        ReliabilityBin(
            tenth / _TENTHS,
            (tenth + 1) / _TENTHS,
            labelled.events,
            labelled.score / labelled.weight,
            _share(fraud, labelled),
        )
        for tenth, (labelled, fraud) in sorted(labelled_by(sums, lambda place: place.tenth).items())
        if labelled.weight
    ]


def _share(part: CohortTally, whole: CohortTally) -> Estimate:
    return weighted_share(part.weight, whole.weight, whole.weight_squares, part.weight_squares)
