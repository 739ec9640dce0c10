from collections.abc import Callable

import pytest

from canary.judge.decision_rules import (
    LabelCounts,
    check_blocks,
    check_false_positives,
    check_flips,
    check_recall,
    check_score_shift,
)
from canary.judge.evidence import ArmBucket, Paired
from canary.judge.state import JudgeState
from canary.limits import DEFAULT_LIMITS, Limits

MakeArm = Callable[..., ArmBucket]
Absorbed = Callable[..., JudgeState]


@pytest.fixture
def paired(arm: MakeArm, absorbed: Absorbed) -> Callable[[Paired], JudgeState]:
    return lambda counts: absorbed(arm(900), arm(100), buckets=1, paired=counts)


Pairs = Callable[[Paired], JudgeState]


@pytest.mark.parametrize(
    "counts", [Paired(n11=60, n10=240, n00=9_700), Paired(n11=10, n01=190, n00=9_800)], ids=["more", "fewer"]
)
def test_blocking_far_more_or_far_fewer_events_rolls_back(paired: Pairs, counts: Paired) -> None:
    assert check_blocks(paired(counts), DEFAULT_LIMITS).outcome == "rollback"


@pytest.mark.parametrize("counts", [Paired(n11=90, n10=10, n01=10, n00=9_890), Paired(n11=100, n10=90, n00=9_810)])
def test_blocking_up_to_twice_as_many_events_passes(paired: Pairs, counts: Paired) -> None:
    assert check_blocks(paired(counts), DEFAULT_LIMITS).outcome == "pass"


def test_blocks_are_judged_even_if_production_blocks_nothing(paired: Pairs) -> None:
    found = check_blocks(paired(Paired(n10=60, n00=9_940)), DEFAULT_LIMITS)
    assert (found.outcome, found.value) == ("rollback", None)
    assert check_blocks(paired(Paired(n10=3, n00=9_997)), DEFAULT_LIMITS).outcome == "pass"


def test_without_paired_events_blocks_and_flips_are_unknown(paired: Pairs) -> None:
    state = paired(Paired())
    assert check_blocks(state, DEFAULT_LIMITS).outcome == "unknown"
    assert check_flips(state, DEFAULT_LIMITS).outcome == "unknown"


@pytest.mark.parametrize(("flips", "outcome"), [(0, "pass"), (20, "pass"), (21, "hold")])
def test_flips_over_the_limit_hold(paired: Pairs, flips: int, outcome: str) -> None:
    state = paired(Paired(n11=10, n10=flips // 2, n01=flips - flips // 2, n00=990 - flips))
    assert check_flips(state, DEFAULT_LIMITS).outcome == outcome


def test_shifted_scores_hold_and_never_roll_back(absorbed: Absorbed) -> None:
    production = ArmBucket(requests=900, scores={0: 450, 1: 450})
    shifted = absorbed(production, ArmBucket(requests=100, scores={1: 10, 9: 90}))
    assert check_score_shift(shifted, DEFAULT_LIMITS).outcome == "hold"


def test_unshifted_scores_pass_and_too_few_are_unknown(arm: MakeArm, absorbed: Absorbed) -> None:
    assert check_score_shift(absorbed(arm(900), arm(100), buckets=10), DEFAULT_LIMITS).outcome == "pass"
    assert check_score_shift(absorbed(arm(900), arm(100), buckets=9), DEFAULT_LIMITS).outcome == "unknown"


def labels(n11: int, n10: int, n01: int, total: int, matured_share: float = 1.0) -> LabelCounts:
    legitimate = Paired(n11=n11, n10=n10, n01=n01, n00=total - n11 - n10 - n01)
    return LabelCounts(events=round(total / matured_share), matured=total, legitimate=legitimate)


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        (None, "unknown"),
        (LabelCounts(0, 0, Paired()), "unknown"),
        (labels(0, 0, 0, 50_000), "unknown"),
        (labels(288, 32, 32, 32_000), "pass"),
        (labels(288, 32, 32, 31_000), "pass"),
        (labels(28, 3, 3, 3_200), "unknown"),
        (labels(288, 32, 32, 32_000, matured_share=0.5), "unknown"),
        (labels(2880, 520, 320, 400_000), "hold"),
        (labels(2880, 120, 320, 400_000), "hold"),
        (labels(30, 300, 3, 20_000), "hold"),
    ],
    ids=["none", "no events", "no blocks", "equal", "equal rarer", "few", "immature", "more", "fewer", "far more"],
)
def test_false_positives_are_judged_once_enough_labels_have_matured(counts: LabelCounts | None, outcome: str) -> None:
    assert check_false_positives(DEFAULT_LIMITS, counts).outcome == outcome


def test_the_reason_says_what_is_missing_to_judge_false_positives() -> None:
    assert "about 32,000 labelled" in check_false_positives(DEFAULT_LIMITS, labels(72, 8, 8, 8_000)).reason
    assert "50% of the labels have matured" in check_false_positives(DEFAULT_LIMITS, labels(9, 1, 1, 999, 0.5)).reason


def test_unknown_false_positives_block_only_a_plan_that_asks_for_labels() -> None:
    assert not check_false_positives(DEFAULT_LIMITS, None).required
    assert check_false_positives(Limits(labels_required=True), None).required


@pytest.mark.parametrize(
    ("frauds", "outcome"),
    [
        (None, "unknown"),
        (Paired(), "unknown"),
        (Paired(n11=700, n01=300, n00=200), "rollback"),
        (Paired(n11=90, n01=24, n00=5), "hold"),
        (Paired(n11=700, n10=150, n01=150), "pass"),
        (Paired(n11=700, n10=300), "pass"),
        (Paired(n00=500), "pass"),
    ],
)
def test_a_canary_that_catches_fewer_of_the_known_frauds_is_held_and_rolled_back(
    frauds: Paired | None, outcome: str
) -> None:
    assert check_recall(1.1, DEFAULT_LIMITS, frauds).outcome == outcome
