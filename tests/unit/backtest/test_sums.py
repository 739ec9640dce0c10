"""Sums merge in any order, and never overflow."""

from typing import Any

import numpy as np
import pytest

from backtest.errors import CostsInvalid, TooManyValues
from backtest.figures.costs import CostTable
from backtest.tally.counting import Counter, Replayed
from backtest.tally.flips import MAX_FLIPS, ReplayedFlip
from backtest.tally.layout import BATCH_ROWS, MAX_AMOUNT, NOT_SCORED, UNLABELLED, edges_of, score_bins
from backtest.tally.sums import MAX_VALUES, Sums, merged
from registry.model_version import Thresholds
from scoring.decision import DECISIONS, decide, decide_all

THRESHOLDS = Thresholds(0.1301, 0.3557)


def events(count: int, **values: Any) -> Replayed:
    arrays: dict[str, Any] = {
        "before": np.zeros(count, np.int8),
        "after": np.zeros(count, np.int8),
        "label": np.zeros(count, np.int8),
        "amount": np.ones(count),
        "score_before": np.full(count, 0.05),
        "score_after": np.full(count, 0.05),
        "same_version": np.zeros(count, bool),
        "by_production": np.zeros(count, bool),
        "propensity": np.full(count, np.nan),
        "segments": {},
    }
    return Replayed(**{**arrays, **values})


def flip(number: int, amount: float) -> ReplayedFlip:
    return ReplayedFlip(amount, f"p{number}", f"e{number}", "2026-11-26T00:00:00Z", "allow", "block", 0.1, 0.9, None)


def test_no_sums_merge_to_nothing() -> None:
    assert merged([]) == Sums()


def test_the_largest_amounts_do_not_overflow() -> None:
    counter, taken, rows = Counter(edges_of(THRESHOLDS)), Sums(), 0
    for _ in range(8):
        counter.add(events(BATCH_ROWS, amount=np.full(BATCH_ROWS, MAX_AMOUNT)))
        rows += BATCH_ROWS
        if counter.full:
            taken.add(counter.take())
    taken.add(counter.take())
    assert sum(taken.arrays["cells amount"]) == rows * int(MAX_AMOUNT) * 1_000
    assert sum(taken.arrays["cells squares"]) == rows * (int(MAX_AMOUNT) * 1_000) ** 2
    assert list(Sums.from_batch(taken.to_batch())) == [taken]


@pytest.mark.parametrize("amount", [np.nan, np.inf, -np.inf, 2 * MAX_AMOUNT])
def test_an_amount_that_is_no_amount_is_counted_as_absent(amount: float) -> None:
    counter = Counter(edges_of(THRESHOLDS))
    counter.add(events(3, amount=np.array([1.0, amount, 2.5])))
    sums = counter.take()
    assert sums.counts["without amount"] == 1
    assert sum(sums.arrays["cells amount"]) == 3_500


def test_an_event_without_a_score_is_in_no_bin() -> None:
    counter = Counter(edges_of(THRESHOLDS))
    after = np.array([0, NOT_SCORED], np.int8)
    counter.add(events(2, after=after, score_after=np.array([0.05, np.nan]), label=np.full(2, UNLABELLED, np.int8)))
    sums = counter.take()
    assert sum(sums.arrays["bins after events"]) == 1
    assert sum(sums.arrays["bins before events"]) == 2


def test_flips_merge_to_the_largest_in_any_order() -> None:
    flips = [flip(number, float(number % 40)) for number in range(200)]
    one, other = Sums(flips=[]), Sums(flips=[])
    for part in (flips[:90], flips[90:]):
        one.add(Sums(flips=part))
    for part in (flips[120:], flips[:120]):
        other.add(Sums(flips=part))
    assert one.flips == other.flips
    assert len(one.flips) == MAX_FLIPS


def test_values_of_a_segment_are_limited_across_parts() -> None:
    total = Sums(segments={"card": {f"a{number}": [1] for number in range(MAX_VALUES)}})
    with pytest.raises(TooManyValues):
        total.add(Sums(segments={"card": {"one more": [1]}}))


def test_an_array_of_scores_is_decided_as_each_score_is() -> None:
    scores = [0.0, 0.1301, np.nextafter(0.1301, 0), 0.3557, np.nextafter(0.3557, 0), 1.0]
    assert [DECISIONS[code] for code in decide_all(np.array(scores), THRESHOLDS)] == [
        decide(score, THRESHOLDS) for score in scores
    ]


def test_a_bin_begins_at_each_threshold() -> None:
    edges = edges_of(THRESHOLDS)
    for threshold in (THRESHOLDS.review, THRESHOLDS.block):
        place = edges.index(threshold)
        around = score_bins(np.array([np.nextafter(threshold, 0), threshold]), np.array(edges))
        assert around.tolist() == [place - 1, place]


def test_every_fault_of_a_cost_table_is_named() -> None:
    with pytest.raises(CostsInvalid) as refused:
        CostTable.read({"fraud_allowed": {}, "fraud_block": {"per_event": "5"}, "fraud_allow": {"share": 1}})
    assert refused.value.faults == (
        "fraud_allowed: no such name; did you mean fraud_allow?",
        "fraud_block/per_event: must be a number",
        "fraud_allow/share: no such field",
    )


def test_no_costs_are_refused() -> None:
    with pytest.raises(CostsInvalid):
        CostTable.read({})
