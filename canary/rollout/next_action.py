"""What happens to a rollout next: pure, from its plan, its place in it and the latest verdict."""

from typing import Literal

import msgspec

from canary.judge.verdict import Verdict
from canary.plan import Plan, Step

Status = Literal["running", "paused", "stopped", "rolled_back", "promoted"]


# Where a percentage set by hand below the plan's first step puts a rollout: it stays there until someone moves it.
BEFORE_PLAN = -1
_BY_HAND = Step(percent=0, bake_seconds=0, gate="manual")


class Rollout(msgspec.Struct, frozen=True):
    """A rollout's place in its plan: `step` is an index, or BEFORE_PLAN; `step_started_at` is in epoch seconds."""

    plan: Plan
    status: Status
    step: int
    step_started_at: float

    @property
    def current_step(self) -> Step:
        return _BY_HAND if self.step == BEFORE_PLAN else self.plan.steps[self.step]


class Continue(msgspec.Struct, frozen=True, tag=True):
    """Nothing to do: the step is still earning its evidence."""


class Hold(msgspec.Struct, frozen=True, tag=True):
    """The share of traffic stays where it is, and the reasons say who or what must change."""

    reasons: tuple[str, ...]


class Advance(msgspec.Struct, frozen=True, tag=True):
    to_step: int
    percent: float


class Promote(msgspec.Struct, frozen=True, tag=True):
    """The last step has passed: the canary becomes production."""


class RollBack(msgspec.Struct, frozen=True, tag=True):
    reason: str


Action = Continue | Hold | Advance | Promote | RollBack


def step_at(plan: Plan, percent: float) -> int:
    """The step that a percentage set by hand belongs to: the last one that is not above it, or BEFORE_PLAN."""
    return sum(step.percent <= percent for step in plan.steps) - 1


def bake_over(rollout: Rollout, now: float) -> bool:
    """Whether the current step has lasted as long as its plan asks."""
    return now - rollout.step_started_at >= rollout.current_step.bake_seconds


def next_action(rollout: Rollout, verdict: Verdict, now: float) -> Action:
    """A rollback always acts, even when paused; an ended rollout never moves again."""
    if rollout.status not in ("running", "paused"):
        return Hold((f"the rollout is {rollout.status}: start a new one",))
    if verdict.kind == "rollback":
        return RollBack("; ".join(verdict.reasons))
    if rollout.status == "paused":
        return Hold(("paused by an operator",))
    if verdict.kind == "hold":
        return Hold(verdict.reasons)
    if verdict.kind == "continue" or not bake_over(rollout, now):
        return Continue()
    if rollout.current_step.gate == "manual":
        return Hold(("the step has passed and its gate is manual: it waits for an operator's go",))
    following = rollout.step + 1
    if following == len(rollout.plan.steps):
        return Promote()
    return Advance(following, rollout.plan.steps[following].percent)
