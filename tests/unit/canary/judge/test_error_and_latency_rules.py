from collections.abc import Callable

import pytest

from canary.judge.error_and_latency_rules import (
    check_by_threshold,
    check_control,
    check_error_go,
    check_errors,
    check_p95,
    check_p95_go,
)
from canary.judge.evidence import ArmBucket
from canary.judge.state import JudgeState
from canary.limits import Limits, Policy

TEN = Policy(percent=10)
ALL = Policy(percent=100)
MakeArm = Callable[..., ArmBucket]
Absorbed = Callable[..., JudgeState]


def test_five_times_the_errors_roll_back(arm: MakeArm, absorbed: Absorbed) -> None:
    found = check_errors(absorbed(arm(900, 3), arm(100, 2), buckets=24), TEN)
    assert found.outcome == "rollback"
    assert found.value == pytest.approx(6.0)
    assert found.evidence is not None
    assert found.evidence_limit is not None
    assert found.evidence >= found.evidence_limit


def test_an_error_rate_equal_to_productions_passes(arm: MakeArm, absorbed: Absorbed) -> None:
    assert check_errors(absorbed(arm(900, 9), arm(100, 1), buckets=2000), TEN).outcome == "pass"


def test_a_ratio_between_1_2_and_1_5_holds_however_much_evidence_there_is(arm: MakeArm, absorbed: Absorbed) -> None:
    for production, canary in ((30, 4), (27, 4), (25, 4)):
        state = absorbed(arm(900, production), arm(100, canary), buckets=1500)
        outcomes = {check_errors(state, TEN).outcome, check_error_go(state, TEN).outcome}
        assert "hold" in outcomes
        assert "rollback" not in outcomes


def test_errors_of_only_the_canary_roll_back(arm: MakeArm, absorbed: Absorbed) -> None:
    found = check_errors(absorbed(arm(900), arm(100, 1), buckets=12), TEN)
    assert (found.outcome, found.value) == ("rollback", None)
    assert "production has none" in found.reason


def test_a_single_error_of_only_the_canary_does_not_roll_back(arm: MakeArm, absorbed: Absorbed) -> None:
    before = absorbed(arm(900), arm(100), buckets=100)
    assert check_errors(absorbed(arm(900), arm(100, 1), buckets=1, before=before), TEN).outcome == "pass"


def test_a_canary_without_errors_passes(arm: MakeArm, absorbed: Absorbed) -> None:
    assert check_errors(absorbed(arm(900), arm(100)), TEN).outcome == "pass"


@pytest.mark.parametrize("errors", [9, 90, 900])
def test_failures_of_both_arms_at_once_are_not_attributed_to_the_canary(
    arm: MakeArm, absorbed: Absorbed, errors: int
) -> None:
    assert check_errors(absorbed(arm(900, errors), arm(100, errors // 9)), TEN).outcome == "pass"


def test_an_arm_without_requests_adds_no_evidence(arm: MakeArm, absorbed: Absorbed) -> None:
    for state in (absorbed(arm(900, 9), ArmBucket()), absorbed(ArmBucket(), arm(100, 1))):
        assert check_errors(state, TEN).outcome == "pass"
        assert check_error_go(state, Policy(percent=10, limits=Limits(error_rate_negligible=0.0))).outcome == "unknown"
        assert check_p95(state, TEN).outcome == "pass"
        assert check_p95_go(state, TEN).outcome == "unknown"


def test_a_canary_that_turns_bad_after_hours_of_health_is_caught(arm: MakeArm, absorbed: Absorbed) -> None:
    healthy = absorbed(arm(900, 3), arm(100, 0), buckets=6 * 720)
    assert check_errors(absorbed(arm(900, 3), arm(100, 4), buckets=24, before=healthy), TEN).outcome == "rollback"


def test_errors_in_bursts_add_less_evidence(arm: MakeArm, absorbed: Absorbed) -> None:
    bursty = Policy(percent=10, dispersion=3.0)
    assert check_errors(absorbed(arm(900, 3), arm(100, 2), buckets=8), TEN).outcome == "rollback"
    assert check_errors(absorbed(arm(900, 3), arm(100, 2), buckets=8, policy=bursty), bursty).outcome == "pass"


@pytest.mark.parametrize("slower", [1.35, 1.6, 2.0, 40.0])
def test_a_p95_above_1_3_times_rolls_back(arm: MakeArm, absorbed: Absorbed, slower: float) -> None:
    found = check_p95(absorbed(arm(900), arm(100, median_seconds=0.012 * slower), buckets=600), TEN)
    assert found.outcome == "rollback"
    assert found.value == pytest.approx(slower, rel=0.03)


@pytest.mark.parametrize("slower", [0.5, 1.0, 1.25])
def test_a_p95_below_1_3_times_passes(arm: MakeArm, absorbed: Absorbed, slower: float) -> None:
    assert check_p95(absorbed(arm(900), arm(100, median_seconds=0.012 * slower), buckets=2000), TEN).outcome == "pass"


def test_fewer_than_200_slow_canary_requests_hold_and_do_not_roll_back(arm: MakeArm, absorbed: Absorbed) -> None:
    before = absorbed(arm(900), ArmBucket(), buckets=60, policy=Policy(percent=0))
    state = absorbed(arm(900), arm(199, median_seconds=0.1), buckets=1, before=before, phase=1)
    assert check_p95(state, TEN).outcome == "hold"


def test_slowness_of_both_arms_at_once_is_not_attributed_to_the_canary(arm: MakeArm, absorbed: Absorbed) -> None:
    before = absorbed(arm(900), arm(100), buckets=120)
    for buckets in (1, 12, 120):
        slow = absorbed(arm(900, 0, 0.06), arm(100, 0, 0.06), buckets=buckets, before=before)
        assert check_p95(slow, TEN).outcome == "pass"


def test_a_canary_below_a_millisecond_is_never_slow(absorbed: Absorbed) -> None:
    production, canary = ({0: 900}, {0: 100})
    state = absorbed(ArmBucket(requests=900, latency=production), ArmBucket(requests=100, latency=canary))
    assert check_p95(state, TEN).outcome == "pass"


def test_a_p95_below_a_millisecond_passes_without_a_ratio(absorbed: Absorbed) -> None:
    state = absorbed(ArmBucket(requests=900, latency={0: 900}), ArmBucket(requests=100, latency={0: 100}))
    assert check_p95_go(state, TEN).outcome == "pass"
    slow = absorbed(ArmBucket(requests=900, latency={0: 900}), ArmBucket(requests=100, latency={0: 90, 100: 10}))
    assert check_p95_go(slow, TEN).outcome == "unknown"


def test_a_healthy_canary_passes_what_a_step_requires(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900, 9), arm(100, 1), buckets=300)
    assert check_error_go(state, TEN).outcome == "pass"
    assert check_p95_go(state, TEN).outcome == "pass"


def test_a_few_requests_are_not_enough_to_advance(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900, 9), arm(100, 1), buckets=3)
    assert check_error_go(state, TEN).outcome == "unknown"
    assert check_p95_go(absorbed(arm(900), arm(100), buckets=1), TEN).outcome == "unknown"


def test_a_canary_passes_when_neither_arm_ever_fails(arm: MakeArm, absorbed: Absorbed) -> None:
    assert check_error_go(absorbed(arm(900), arm(100), buckets=60), TEN).outcome == "unknown"
    assert check_error_go(absorbed(arm(900), arm(100), buckets=200), TEN).outcome == "pass"


def test_at_0_percent_neither_errors_nor_latency_are_required(arm: MakeArm, absorbed: Absorbed) -> None:
    shadow = Policy(percent=0)
    state = absorbed(arm(1000, 3), ArmBucket(), policy=shadow)
    assert check_error_go(state, shadow).outcome == "pass"
    assert check_p95_go(state, shadow).outcome == "pass"


@pytest.mark.parametrize(("errors", "outcome"), [(10, "pass"), (40, "rollback")])
def test_at_100_percent_errors_are_compared_with_earlier_production(
    arm: MakeArm, absorbed: Absorbed, errors: int, outcome: str
) -> None:
    before = absorbed(arm(900, 9), arm(100, 1), buckets=200)
    state = absorbed(ArmBucket(), arm(1000, errors), buckets=20, before=before, phase=1, policy=ALL)
    assert check_errors(state, ALL).outcome == outcome
    assert check_control(state, ALL).outcome == "pass"


@pytest.mark.parametrize(("slower", "outcome"), [(1.0, "pass"), (1.6, "rollback")])
def test_at_100_percent_latency_is_compared_with_earlier_production(
    arm: MakeArm, absorbed: Absorbed, slower: float, outcome: str
) -> None:
    before = absorbed(arm(900), arm(100), buckets=200)
    canary = arm(1000, median_seconds=0.012 * slower)
    state = absorbed(ArmBucket(), canary, buckets=300, before=before, phase=1, policy=ALL)
    found = check_p95(state, ALL)
    assert found.outcome == outcome
    assert found.value == pytest.approx(slower, rel=0.03)
    assert (check_p95_go(state, ALL).outcome == "pass") is (outcome == "pass")


def test_at_100_percent_a_canary_without_earlier_production_holds(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(ArmBucket(), arm(1000, 500), policy=ALL)
    assert check_control(state, ALL).outcome == "hold"


def test_threshold_mode_rolls_back_above_its_ratios(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900, 9), arm(100, 2, 0.02), buckets=10)
    found = {m.name: m.outcome for m in check_by_threshold(state, TEN)}
    assert found == {"control": "pass", "error_ratio": "rollback", "p95_ratio": "rollback"}


def test_threshold_mode_passes_below_its_ratios(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900, 9), arm(100, 1), buckets=10)
    assert {m.outcome for m in check_by_threshold(state, TEN)} == {"pass"}


def test_threshold_mode_requires_no_ratio_at_0_percent(arm: MakeArm, absorbed: Absorbed) -> None:
    shadow = Policy(percent=0, mode="threshold")
    state = absorbed(arm(1000, 3), ArmBucket(), policy=shadow)
    assert [m.name for m in check_by_threshold(state, shadow)] == ["control"]


def test_threshold_mode_computes_no_ratio_below_its_minimum_sample(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900, 9), arm(100, 90, 0.5), buckets=9)
    assert [m.outcome for m in check_by_threshold(state, TEN)] == ["pass", "unknown", "unknown"]
