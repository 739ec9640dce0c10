import pytest

from canary.judge.verdict import Verdict, VerdictKind
from canary.plan import DEFAULT_PLAN, Plan, Step
from canary.rollout.next_action import (
    BEFORE_PLAN,
    Action,
    Advance,
    Continue,
    Hold,
    Position,
    Promote,
    RollBack,
    bake_over,
    next_action,
    step_at,
)

DAY = 24 * 3600
HELD = ("an alert fires",)


def verdict(kind: VerdictKind) -> Verdict:
    return Verdict(kind, HELD, (), 0)


def rollout(step: int = 0, status: str = "running", plan: Plan = DEFAULT_PLAN) -> Position:
    return Position(plan, status, step, step_started_at=0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("continue", Continue()),
        ("hold", Hold(HELD)),
        ("advance", Advance(to_step=1, percent=25)),
        ("rollback", RollBack("an alert fires")),
    ],
)
def test_a_verdict_becomes_an_action(kind: VerdictKind, action: Action) -> None:
    assert next_action(rollout(), verdict(kind), now=DAY) == action


def test_passing_the_last_step_promotes() -> None:
    assert next_action(rollout(step=3), verdict("advance"), now=3 * DAY) == Promote()


def test_no_step_ends_before_its_bake_time() -> None:
    assert not bake_over(rollout(), now=DAY - 1)
    assert next_action(rollout(), verdict("advance"), now=DAY - 1) == Continue()
    assert bake_over(rollout(), now=DAY)


def test_a_manual_gate_waits_for_an_operators_go() -> None:
    plan = Plan((Step(10, 0, "manual"), Step(50, 0)))
    assert isinstance(next_action(rollout(plan=plan), verdict("advance"), now=1.0), Hold)


@pytest.mark.parametrize(
    ("percent", "step"), [(0, BEFORE_PLAN), (9.9, BEFORE_PLAN), (10, 0), (24, 0), (25, 1), (99, 2), (100, 3)]
)
def test_a_percentage_set_by_hand_falls_in_the_last_step_that_is_not_above_it(percent: float, step: int) -> None:
    assert step_at(DEFAULT_PLAN, percent) == step


def test_a_percentage_below_the_plan_stays_until_an_operator_changes_it() -> None:
    assert isinstance(next_action(rollout(step=BEFORE_PLAN), verdict("advance"), now=90 * DAY), Hold)


def test_a_paused_rollout_does_not_advance_but_still_rolls_back() -> None:
    assert isinstance(next_action(rollout(status="paused"), verdict("advance"), now=DAY), Hold)
    assert isinstance(next_action(rollout(status="paused"), verdict("rollback"), now=DAY), RollBack)


@pytest.mark.parametrize("status", ["stopped", "rolled_back", "promoted"])
@pytest.mark.parametrize("kind", ["continue", "hold", "advance", "rollback"])
def test_an_ended_rollout_never_changes_again(status: str, kind: VerdictKind) -> None:
    assert isinstance(next_action(rollout(status=status), verdict(kind), now=DAY), Hold)
