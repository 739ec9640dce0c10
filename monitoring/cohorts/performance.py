"""A product's performance by cohort, as the API, the console and the metrics show it. Pure."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from canary.intervals import Estimate
from monitoring.cohorts.estimate import Calibration, CalibrationKind, EstimatedQuality, calibrate, estimated_quality
from monitoring.cohorts.figures import (
    ObservedQuality,
    ReliabilityBin,
    alert_rate,
    brier_score,
    observed_quality,
    reliability,
)
from monitoring.cohorts.layout import Cohort, CohortSums, known, merged
from monitoring.cohorts.maturation import MaturationPoint, known_share, maturation

_DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)


class QualityAtThreshold(msgspec.Struct, frozen=True):
    """`observed` among labelled events; `estimated` for all events, from scores, before labels arrive."""

    observed: ObservedQuality
    estimated: EstimatedQuality


class CohortPerformance(msgspec.Struct, frozen=True):
    """The events that a version answered in the ISO week from `week` (a Monday, UTC).

    `matured`: every event is older than LABEL_MATURITY_DAYS. `known_share`: the share of its labels that are known at
    this age, going by older cohorts; null while it is too young to tell. `review` has scores from the review threshold
    on, `block` those from the block threshold on. `calibration`: what the estimate took as probabilities.
    """

    week: date
    model_id: str
    model_version: str
    events: int
    labelled: int
    frauds: int
    matured: bool
    known_share: float | None
    alert_rate: Estimate
    review: QualityAtThreshold
    block: QualityAtThreshold
    brier_score: float | None
    calibration: CalibrationKind


class Performance(msgspec.Struct, frozen=True):
    """Cohorts, newest first; `reliability` is that of the production version's matured cohorts."""

    maturity_days: float
    cohorts: list[CohortPerformance]
    reliability: list[ReliabilityBin]
    maturation: list[MaturationPoint]


def performance(cohorts: Sequence[Cohort], model_id: str, now: datetime, maturity_days: float) -> Performance:
    """Return the figures of a product's cohorts; `model_id` is the production version."""
    curve = maturation([(age_days(cohort.week, now), cohort.label_ages) for cohort in cohorts])
    matured: dict[str, CohortSums] = {}  # of the weeks before, by version
    described = []
    for cohort in sorted(cohorts, key=lambda one: one.week):
        # Only earlier weeks calibrate: a cohort's own labels would make its estimate agree with them.
        earlier = matured.get(cohort.model_id, {})
        described.append(_described(cohort, calibrate(earlier), curve, now, maturity_days))
        if described[-1].matured:
            matured[cohort.model_id] = merged((earlier, cohort.sums))
    return Performance(maturity_days, described[::-1], reliability(matured.get(model_id, {})), curve)


def age_days(week: date, now: datetime) -> float:
    """Return how old the youngest event of a week is at least; below 0 while the week lasts."""
    return (now - datetime.combine(week, time(), UTC) - WEEK) / _DAY


def _described(
    cohort: Cohort,
    calibration: Calibration | None,
    curve: Sequence[MaturationPoint],
    now: datetime,
    maturity_days: float,
) -> CohortPerformance:
    age = age_days(cohort.week, now)
    review, block = (
        QualityAtThreshold(observed_quality(cohort.sums, at), estimated_quality(cohort.sums, at, calibration))
        for at in ("review", "block")
    )
    return CohortPerformance(
        week=cohort.week,
        model_id=cohort.model_id,
        model_version=cohort.version,
        events=cohort.total(lambda place: not known(place)).events,
        labelled=cohort.total(known).events,
        frauds=cohort.total(lambda place: place.label == "fraud").events,
        matured=age >= maturity_days,
        known_share=known_share(curve, age),
        alert_rate=alert_rate(cohort.sums),
        review=review,
        block=block,
        brier_score=brier_score(cohort.sums),
        calibration="raw" if calibration is None else "isotonic",
    )
