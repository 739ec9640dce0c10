"""How a week's events are summed: score bins, ages of labels, and sums that merge by addition."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from operator import add
from typing import Literal, NamedTuple, get_args

CohortDecision = Literal["allow", "review", "block"]
# In the order of their severity.
DECISIONS: tuple[CohortDecision, ...] = get_args(CohortDecision)
CohortLabel = Literal["any", "fraud", "legitimate"]
CohortThreshold = Literal["review", "block"]
THRESHOLDS: tuple[CohortThreshold, ...] = get_args(CohortThreshold)

# Lower edges of the score bins, as sira_score_edges() of migration 009 has them behind 0.
SCORE_EDGES = (
    0.0, 0.00001, 0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35,
    0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99,
)  # fmt: skip
# A label of age n became known before AGE_DAYS[n]; of the last age, later. As sira_label_age() has them.
AGE_DAYS = (1, 2, 3, 7, 14, 30, 60)
_TENTHS = tuple(n / 10 for n in range(10))


class CohortPlace(NamedTuple):
    """`decided` follows from the score and the thresholds; `answered` differs while the breaker has tripped."""

    score_bin: int
    decided: CohortDecision
    answered: CohortDecision
    label: CohortLabel

    @property
    def tenth(self) -> int:
        """The tenth of the score range that the bin lies in, from 0 to 9."""
        return bisect_right(_TENTHS, SCORE_EDGES[self.score_bin]) - 1

    def reaches(self, threshold: CohortThreshold) -> bool:
        """Return whether the score is at or above a threshold."""
        return DECISIONS.index(self.decided) >= DECISIONS.index(threshold)


class CohortTally(NamedTuple):
    """Sums over events. Scores and amounts are weighted; `amount_squares` are those of the weighted amounts."""

    events: int = 0
    weight: float = 0.0
    weight_squares: float = 0.0
    score: float = 0.0
    score_squares: float = 0.0
    amount: float = 0.0
    amount_squares: float = 0.0

    def plus(self, other: "CohortTally") -> "CohortTally":
        return CohortTally(*map(add, self, other))


CohortSums = Mapping[CohortPlace, CohortTally]


@dataclass(frozen=True, slots=True)
class Cohort:
    """The events that a version answered as production in an ISO week from Monday `week`, UTC.

    `label_ages`: labelled events by the place of their age in AGE_DAYS.
    """

    week: date
    model_id: str
    version: str
    sums: CohortSums = field(default_factory=dict)
    label_ages: Mapping[int, int] = field(default_factory=dict)

    def total(self, chosen: Callable[[CohortPlace], bool]) -> CohortTally:
        return total(self.sums, chosen)


def total(sums: CohortSums, chosen: Callable[[CohortPlace], bool]) -> CohortTally:
    """Return the sum over the places that are chosen."""
    found = CohortTally()
    for place, tally in sums.items():
        if chosen(place):
            found = found.plus(tally)
    return found


def merged(several: Iterable[CohortSums]) -> dict[CohortPlace, CohortTally]:
    """Return the sums of all cohorts together."""
    found: dict[CohortPlace, CohortTally] = {}
    for sums in several:
        for place, tally in sums.items():
            found[place] = found[place].plus(tally) if place in found else tally
    return found


def labelled_by(sums: CohortSums, key: Callable[[CohortPlace], int]) -> dict[int, tuple[CohortTally, CohortTally]]:
    """Return by `key` the sums over labelled events and over the frauds among them."""
    found: dict[int, tuple[CohortTally, CohortTally]] = {}
    for place, tally in sums.items():
        if known(place):
            labelled, fraud = found.get(key(place), (CohortTally(), CohortTally()))
            fraud = fraud.plus(tally) if place.label == "fraud" else fraud
            found[key(place)] = labelled.plus(tally), fraud
    return found


def known(place: CohortPlace) -> bool:
    """Return whether the place counts labelled events."""
    return place.label != "any"
