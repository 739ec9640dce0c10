"""The weighted figures of a backtest are those that scikit-learn computes from the rows, with the same weights."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from backtest.figures.control_group import control_group_figures
from backtest.figures.description import ControlGroupFigures
from backtest.tally.counting import Counter, Replayed
from backtest.tally.layout import FRAUD, LEGITIMATE, NOT_MATURED, NOT_SCORED, UNLABELLED, edges_of
from backtest.tally.sums import Sums
from canary.labels.weighting import label_weights
from registry.model_version import Thresholds

ALLOW, REVIEW, BLOCK = 0, 1, 2
N = 5_000
RNG = np.random.default_rng(30)
WANTED = RNG.random(N) < 0.3
# Two shares were set in the span; some events were too large; and the group was off for some time.
PROPENSITY = np.where(WANTED, RNG.choice([0.05, 0.02, 0.0, np.nan], N, p=[0.4, 0.2, 0.2, 0.2]), np.nan)
PASSES = np.nan_to_num(PROPENSITY) > RNG.random(N) / 4
BEFORE = np.where(WANTED & ~PASSES, BLOCK, np.where(RNG.random(N) < 0.2, REVIEW, ALLOW)).astype(np.int8)
AFTER = RNG.choice([ALLOW, REVIEW, BLOCK, NOT_SCORED], N, p=[0.6, 0.1, 0.28, 0.02]).astype(np.int8)
LABEL = RNG.choice([FRAUD, LEGITIMATE, UNLABELLED, NOT_MATURED], N, p=[0.2, 0.4, 0.3, 0.1]).astype(np.int8)
AMOUNT = np.round(RNG.lognormal(3, 1, N), 3)


def replayed(chosen: Any) -> Replayed:
    scores = np.full(N, 0.5)
    no = np.zeros(N, bool)
    columns = (BEFORE, AFTER, LABEL, AMOUNT, scores, scores, no, no, PROPENSITY)
    return Replayed(*(column[chosen] for column in columns), segments={})


def counted(*parts: Any) -> Sums:
    total = Sums()
    for part in parts:
        counter = Counter(edges_of(Thresholds(0.4, 0.8)))
        counter.add(replayed(part))
        total.add(counter.take())
    return total


def figures(sums: Sums, *, assumed: bool = False) -> ControlGroupFigures | None:
    return control_group_figures(sums.arrays, unlabelled_are_legitimate=assumed)


def test_without_a_control_group_there_are_no_such_figures() -> None:
    assert figures(counted(~(PROPENSITY > 0))) is None


@pytest.mark.parametrize("assumed", [False, True])
@pytest.mark.parametrize("side", ["before", "after"])
def test_precision_recall_and_false_positive_rate_are_those_of_the_weighted_rows(side: str, assumed: bool) -> None:
    found = figures(counted(np.full(N, True)), assumed=assumed)
    assert found is not None
    known = (LABEL == FRAUD) | (LABEL == LEGITIMATE)
    if assumed:
        # What could not pass and was blocked has no label because of that.
        known |= (LABEL == UNLABELLED) & ~((BEFORE == BLOCK) & ~(PROPENSITY > 0))
    known &= AFTER != NOT_SCORED
    weights = label_weights(BEFORE == BLOCK, PROPENSITY)[known]
    truth = (LABEL == FRAUD)[known]
    guess = (((BEFORE == BLOCK) | (PROPENSITY > 0)) if side == "before" else AFTER == BLOCK)[known]
    quality = getattr(found, side)
    (true_negatives, false_positives), _ = confusion_matrix(truth, guess, sample_weight=weights)
    assert quality.precision.value == pytest.approx(precision_score(truth, guess, sample_weight=weights))
    assert quality.recall.value == pytest.approx(recall_score(truth, guess, sample_weight=weights))
    assert quality.false_positive_rate.value == pytest.approx(false_positives / (false_positives + true_negatives))


def test_what_passed_is_counted_and_what_remains_unknown_has_its_amount() -> None:
    found = figures(counted(np.full(N, True)))
    assert found is not None
    eligible = PROPENSITY > 0
    passed = eligible & (BEFORE != BLOCK)
    blind = (BEFORE == BLOCK) & ~eligible & (LABEL >= UNLABELLED)
    assert (found.eligible, found.passed) == (int(eligible.sum()), int(passed.sum()))
    assert found.labelled == int((passed & (LABEL < UNLABELLED)).sum())
    assert (found.blind, found.blind_amount) == (int(blind.sum()), pytest.approx(AMOUNT[blind].sum()))


def test_parts_in_any_order_give_the_same_figures() -> None:
    whole = figures(counted(np.full(N, True)))
    places = np.arange(N)
    assert figures(counted(places % 3 == 1, places % 3 == 0, places % 3 == 2)) == whole
