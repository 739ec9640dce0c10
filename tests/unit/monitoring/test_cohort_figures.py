"""Figures of cohorts are those that scikit-learn computes from the rows."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, confusion_matrix, precision_score, recall_score

from canary.intervals import NOTHING, share
from monitoring.cohorts.figures import alert_rate, brier_score, observed_quality, reliability
from monitoring.cohorts.layout import THRESHOLDS, CohortPlace, CohortTally, CohortThreshold, merged
from tests.support.cohorts import BLOCK, REVIEW, sums_of

RNG = np.random.default_rng(29)
N = 4_000
SCORES = RNG.beta(0.4, 1.2, N)
FRAUDS = RNG.random(N) < 0.7 * SCORES
LABELLED = RNG.random(N) < 0.6
AMOUNTS = np.round(RNG.lognormal(3, 1, N), 2)
WEIGHTS = np.where(SCORES >= BLOCK, 20.0, 1.0)
LIMITS: dict[CohortThreshold, float] = {"review": REVIEW, "block": BLOCK}


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_nothing_is_known_of_a_cohort_without_labels(threshold: CohortThreshold) -> None:
    for sums in ({}, sums_of([0.1, 0.95], False, False)):
        quality = observed_quality(sums, threshold)
        assert (quality.precision, quality.recall, quality.false_positive_rate) == (NOTHING,) * 3
        assert (quality.amount_caught.value, quality.amount_missed.value) == (0, 0)
        assert brier_score(sums) is None
        assert reliability(sums) == []
    assert alert_rate({}) == NOTHING


def test_with_frauds_only_there_is_no_false_positive_rate() -> None:
    quality = observed_quality(sums_of([0.1, 0.95], True), "block")
    assert (quality.precision.value, quality.recall.value) == (1, 0.5)
    assert quality.false_positive_rate == NOTHING


@pytest.mark.parametrize("weights", [np.ones(N), WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_precision_and_recall_are_scikit_learns(threshold: CohortThreshold, weights: np.ndarray) -> None:  # type: ignore[type-arg]
    quality = observed_quality(sums_of(SCORES, FRAUDS, LABELLED, weights=weights, amounts=AMOUNTS), threshold)
    truth, guess, weighed = FRAUDS[LABELLED], SCORES[LABELLED] >= LIMITS[threshold], weights[LABELLED]
    (true_negatives, false_positives), _ = confusion_matrix(truth, guess, sample_weight=weighed)
    assert quality.precision.value == pytest.approx(precision_score(truth, guess, sample_weight=weighed))
    assert quality.recall.value == pytest.approx(recall_score(truth, guess, sample_weight=weighed))
    assert quality.false_positive_rate.value == pytest.approx(false_positives / (false_positives + true_negatives))
    money = (AMOUNTS * weights)[LABELLED]
    assert quality.amount_caught.value == pytest.approx(money[truth & guess].sum())
    assert quality.amount_missed.value == pytest.approx(money[truth & ~guess].sum())


def test_the_alert_rate_is_that_of_all_events_labelled_or_not() -> None:
    assert alert_rate(sums_of(SCORES, FRAUDS, LABELLED)) == share(int((SCORES >= REVIEW).sum()), N)


def test_a_block_that_the_breaker_made_a_review_still_counts_at_the_block_threshold() -> None:
    sums = {
        CohortPlace(29, "block", "review", label): CohortTally(1, 1, 1, 0.95, 0.95**2, 0, 0)
        for label in ("any", "fraud")
    }
    assert observed_quality(sums, "block").recall.value == 1
    assert alert_rate(sums).value == 1


@pytest.mark.parametrize("weights", [np.ones(N), WEIGHTS], ids=["equal", "weighted"])
def test_the_brier_score_is_scikit_learns(weights: np.ndarray) -> None:  # type: ignore[type-arg]
    expected = brier_score_loss(FRAUDS[LABELLED], SCORES[LABELLED], sample_weight=weights[LABELLED])
    assert brier_score(sums_of(SCORES, FRAUDS, LABELLED, weights=weights)) == pytest.approx(expected)


def test_perfect_scores_have_a_brier_score_of_0() -> None:
    assert brier_score(sums_of([0.0, 1.0, 1.0], [False, True, True])) == 0


def test_the_reliability_diagram_is_scikit_learns_calibration_curve() -> None:
    observed, predicted = calibration_curve(FRAUDS[LABELLED], SCORES[LABELLED], n_bins=10)
    bins = reliability(sums_of(SCORES, FRAUDS, LABELLED))
    assert [one.fraud.value for one in bins] == pytest.approx(list(observed))
    assert [one.mean_score for one in bins] == pytest.approx(list(predicted))
    assert sum(one.events for one in bins) == LABELLED.sum()
    assert all(one.low <= one.mean_score < one.high for one in bins)


def test_cohorts_merge_to_the_figures_of_all_their_events() -> None:
    halves = [sums_of(SCORES[part], FRAUDS[part]) for part in (slice(1_000), slice(1_000, None))]
    whole = observed_quality(sums_of(SCORES, FRAUDS), "block")
    assert observed_quality(merged(halves), "block").recall == whole.recall
    assert brier_score(merged(halves)) == pytest.approx(brier_score(sums_of(SCORES, FRAUDS)))
