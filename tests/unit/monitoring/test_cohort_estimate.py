"""The estimate before labels agrees with simulated truth while scores mean what they meant, and only then."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import precision_score, recall_score

from canary.intervals import NOTHING
from monitoring.cohorts.estimate import (
    MIN_FRAUDS,
    MIN_LABELLED,
    Calibration,
    calibrate,
    estimated_quality,
    isotonic,
)
from monitoring.cohorts.layout import THRESHOLDS, CohortSums, CohortThreshold
from tests.support.cohorts import BLOCK, REVIEW, sums_of

LIMITS: dict[CohortThreshold, float] = {"review": REVIEW, "block": BLOCK}
RUNS, N = 100, 1_000
Truth = Callable[[Any], Any]


def share_within(
    truth: Truth, threshold: CohortThreshold, calibration: Calibration | None = None, shape: float = 1.2
) -> float:
    """Return the share of simulated weeks whose true recall and precision both lie in their estimates' intervals.

    An event with score s is a fraud with probability truth(s); `shape` is that of the scores.
    """
    rng, within = np.random.default_rng(41), 0
    for _ in range(RUNS):
        scores = rng.beta(0.4, shape, N)
        frauds = rng.random(N) < truth(scores)
        found = estimated_quality(sums_of(scores, False, False), threshold, calibration)
        guess = scores >= LIMITS[threshold]
        for estimate, actual in (
            (found.recall, recall_score(frauds, guess)),
            (found.precision, precision_score(frauds, guess)),
        ):
            assert estimate.low is not None
            assert estimate.high is not None
            within += estimate.low <= actual <= estimate.high
    return within / RUNS / 2


def matured(truth: Truth, n: int = 40_000, labelled: float = 1.0) -> CohortSums:
    rng = np.random.default_rng(43)
    scores = rng.beta(0.4, 1.2, n)
    return sums_of(scores, rng.random(n) < truth(scores), rng.random(n) < labelled)


def test_without_events_nothing_is_estimated() -> None:
    found = estimated_quality({}, "block", None)
    assert (found.precision, found.recall) == (NOTHING, NOTHING)


def test_without_an_event_above_the_threshold_recall_is_0_and_precision_unknown() -> None:
    found = estimated_quality(sums_of([0.1, 0.2], False, False), "block", None)
    assert found.precision == NOTHING
    assert found.recall.value == 0


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_the_estimate_is_within_chance_of_the_truth_when_scores_are_probabilities(threshold: CohortThreshold) -> None:
    assert share_within(lambda s: s, threshold) == pytest.approx(0.95, abs=0.05)


def test_the_estimate_follows_a_change_of_the_inputs() -> None:
    assert share_within(lambda s: s, "review", shape=4.0) == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_calibration_corrects_scores_that_are_not_probabilities(
    threshold: CohortThreshold,
) -> None:
    def truth(scores: Any) -> Any:
        return 0.6 * scores**2

    calibration = calibrate(matured(truth))
    assert calibration is not None
    assert share_within(truth, threshold, calibration) > 0.85
    assert share_within(truth, threshold) < 0.6


def test_the_estimate_is_wrong_when_fraud_at_a_given_score_becomes_another() -> None:
    """This is concept shift: nothing in the scores shows it, so the estimate says what was true before."""
    calibration = calibrate(matured(lambda s: s))
    assert calibration is not None
    assert share_within(lambda s: s, "block", calibration) > 0.85
    # A new kind of fraud that the model scores low: recall falls, and the estimate stays.
    assert share_within(lambda s: np.maximum(s, 0.2), "block", calibration) < 0.6


def test_too_few_labels_leave_the_scores_as_they_are() -> None:
    assert calibrate({}) is None
    assert calibrate(matured(lambda s: s, n=MIN_LABELLED - 1)) is None
    assert calibrate(matured(lambda s: s, n=MIN_LABELLED)) is not None


def test_labels_of_the_fewer_events_are_no_sample_of_all() -> None:
    assert calibrate(matured(lambda s: s, labelled=0.4)) is None
    assert calibrate(matured(lambda s: s, labelled=0.6)) is not None


@pytest.mark.parametrize(("frauds", "enough"), [(MIN_FRAUDS - 1, False), (MIN_FRAUDS, True)])
def test_a_calibration_needs_some_frauds(frauds: int, enough: bool) -> None:
    sums = sums_of(np.full(2_000, 0.3), np.arange(2_000) < frauds)
    assert (calibrate(sums) is not None) == enough


def test_the_calibration_is_scikit_learns_isotonic_regression() -> None:
    rng = np.random.default_rng(47)
    for points in (1, 2, 5, 32):
        x, y, weights = np.sort(rng.random(points)), rng.random(points), rng.integers(1, 1_000, points).astype(float)
        expected = IsotonicRegression(out_of_bounds="clip").fit(x, y, sample_weight=weights)
        found = isotonic(list(zip(x.tolist(), y.tolist(), weights.tolist(), strict=True)))
        asked = np.linspace(-0.1, 1.1, 200)
        assert [found.probability(float(s)) for s in asked] == pytest.approx(list(expected.predict(asked)))
