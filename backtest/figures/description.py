"""The parts of a backtest's report, as they are printed, stored and drawn."""

from typing import Literal

import msgspec

from backtest.figures.costs import CostTable
from backtest.tally.flips import ReplayedFlip
from canary.intervals import Estimate


class TestedVersion(msgspec.Struct, frozen=True):
    model_id: str
    label: str
    sha256: str
    review: float
    block: float


class DecisionCount(msgspec.Struct, frozen=True):
    """Events by the logged decision and the candidate's; `after` none: it has no score for them."""

    before: str
    after: str
    events: int
    amount: float


class Quality(msgspec.Struct, frozen=True):
    """How one side's decisions fared against matured labels."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    precision: Estimate
    recall: Estimate
    false_positive_rate: Estimate
    amount_caught: Estimate
    amount_missed: Estimate
    amount_wrongly_declined: Estimate


class Comparison(msgspec.Struct, frozen=True):
    """Both sides on the same labelled events. `positive`: which decisions count as catching fraud."""

    positive: Literal["block", "review or block"]
    before: Quality
    after: Quality
    recall_difference: Estimate
    false_positive_rate_difference: Estimate
    recall_ratio: float | None


class SegmentReport(msgspec.Struct, frozen=True):
    """One value of a field. Shares are of its events; recall and false positives are those of blocking."""

    field: str
    value: str
    events: int
    amount: float
    blocked_before: float
    blocked_after: float
    stopped_before: float
    stopped_after: float
    fraud: int
    recall_before: Estimate
    recall_after: Estimate
    false_positive_rate_before: Estimate
    false_positive_rate_after: Estimate


class SweepPoint(msgspec.Struct, frozen=True):
    """What would follow from blocking from `threshold` on; no model run is needed for it."""

    threshold: float
    blocked: float
    precision: float | None
    recall: float | None
    false_positive_rate: float | None
    amount_caught: float
    amount_missed: float
    amount_wrongly_declined: float
    cost: float | None


class CalibrationBin(msgspec.Struct, frozen=True):
    """Labelled events with neighbouring scores: the mean score should be the share of fraud."""

    events: int
    mean_score: float
    fraud: Estimate


class LabelledEvents(msgspec.Struct, frozen=True):
    fraud: int
    legitimate: int
    unlabelled: int
    not_matured: int


class BlindSpot(msgspec.Struct, frozen=True):
    """Events that were blocked: most never get a label, so what they would have been is not known."""

    blocked: int
    blocked_amount: float
    unlabelled: int
    unlabelled_amount: float
    unlabelled_that_candidate_passes: int
    unlabelled_amount_that_candidate_passes: float


class WeightedQuality(msgspec.Struct, frozen=True):
    """How one side's blocks fared, with each labelled event weighted by 1 / propensity."""

    precision: Estimate
    recall: Estimate
    false_positive_rate: Estimate


class ControlGroupFigures(msgspec.Struct, frozen=True):
    """`eligible`: events that might have passed although the logged model wanted to block them; `passed` did.

    `labelled`: of those that passed, with a matured label. `blind`: blocked, could not pass, and no matured label: what
    they were is still not known.
    """

    eligible: int
    passed: int
    labelled: int
    before: WeightedQuality
    after: WeightedQuality
    blind: int
    blind_amount: float


class OwnLog(msgspec.Struct, frozen=True):
    """Events that this very version answered when it served: the replay must decide them the same."""

    events: int
    flips: int
    max_difference: float


class CostComparison(msgspec.Struct, frozen=True):
    before: float
    after: float
    table: CostTable


class ScoreBins(msgspec.Struct, frozen=True):
    """Events by score in equal bins of [0, 1], and the population stability index between both."""

    before: list[int]
    after: list[int]
    psi: float | None


class BacktestReport(msgspec.Struct, frozen=True):
    """`amount` figures are in the payloads' own units. Days are UTC, both inclusive."""

    product: str
    model: TestedVersion
    production: TestedVersion | None
    since: str
    until: str
    matured_before: str
    unlabelled_are_legitimate: bool
    amount_field: str
    events: int
    without_amount: int
    by_production: int
    not_scored: int
    refusals: dict[str, int]
    flips: int
    block_ratio: float | None
    review_ratio: float | None
    decisions: list[DecisionCount]
    labels: LabelledEvents
    own_log: OwnLog
    quality: list[Comparison]
    blind_spot: BlindSpot
    cost: CostComparison | None
    segments: list[SegmentReport]
    scores: ScoreBins
    calibration: list[CalibrationBin]
    sweep: list[SweepPoint]
    sweep_before: list[SweepPoint]
    largest_flips: list[ReplayedFlip]
    control_group: ControlGroupFigures | None = None
