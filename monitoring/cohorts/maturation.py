"""How soon labels become known: the share of labels by age, estimated from cohorts of different ages. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from monitoring.cohorts.layout import AGE_DAYS


class MaturationPoint(msgspec.Struct, frozen=True):
    """The share of labels that are known by an age in days; None for an age that no cohort has reached as a whole."""

    age_days: int
    share: float | None


def maturation(cohorts: Sequence[tuple[float, Mapping[int, int]]]) -> list[MaturationPoint]:
    """Return the share of labels known by each of AGE_DAYS, of those known by the last age that a cohort has reached.

    `cohorts`: the age in days of each cohort's youngest event, and its labels by the place of their age. Between two
    ages labels grow by the ratio that all cohorts which have reached the later one show together: the chain ladder of
    claims reserving (Mack, 1993). Young cohorts thus tell about early ages without biasing late ones.
    """
    shares: list[float | None] = [None] * len(AGE_DAYS)
    later: float | None = None
    for place in reversed(range(len(AGE_DAYS))):
        if later is None:
            reached = sum(_by(place, labels) for age, labels in cohorts if age >= AGE_DAYS[place])
            later = 1.0 if reached else None
        else:
            old_enough = [labels for age, labels in cohorts if age >= AGE_DAYS[place + 1]]
            after = sum(_by(place + 1, labels) for labels in old_enough)
            later *= sum(_by(place, labels) for labels in old_enough) / after if after else 1.0
        shares[place] = later
    return [MaturationPoint(days, share) for days, share in zip(AGE_DAYS, shares, strict=True)]


def known_share(curve: Sequence[MaturationPoint], age_days: float) -> float | None:
    """Return the share of labels that are known at least, when a cohort's youngest event is that old.

    None below the first age of the curve, and if there is no curve yet.
    """
    return max((p.share for p in curve if p.share is not None and p.age_days <= age_days), default=None)


def _by(place: int, labels: Mapping[int, int]) -> int:
    """Return the labels that were known by an age."""
    return sum(count for age, count in labels.items() if age <= place)
