"""What happens to a rollout next, from its plan, its position in the plan and the latest verdict. Pure."""

from typing import Literal

import msgspec

from canary.judge.verdict import Verdict
from canary.plan import Plan, Step

RolloutStatus = Literal["running", "paused", "stopped", "rolled_back", "promoted"]

# A percentage below the plan's first step: the rollout stays there until an operator changes it.
BEFORE_PLAN = -1
_MANUAL_STEP = Step(percent=0, bake_seconds=0, gate="manual")


class Position(msgspec.Struct, frozen=True):
    """A rollout's position in its plan: `step` is an index, or BEFORE_PLAN; `step_started_at` is in epoch seconds."""

    plan: Plan
    status: RolloutStatus
    step: int
    step_started_at: float

    @property
    def current_step(self) -> Step:
        return _MANUAL_STEP if self.step == BEFORE_PLAN else self.plan.steps[self.step]


class Continue(msgspec.Struct, frozen=True, tag=True):
    """Wait: the step does not have enough evidence yet."""


class Hold(msgspec.Struct, frozen=True, tag=True):
    """Keep the percentage; the reasons say what must change first."""

    reasons: tuple[str, ...]


class Advance(msgspec.Struct, frozen=True, tag=True):
    to_step: int
    percent: float


class Promote(msgspec.Struct, frozen=True, tag=True):
    """Make the canary the production model: the last step has passed."""


class RollBack(msgspec.Struct, frozen=True, tag=True):
    reason: str


Action = Continue | Hold | Advance | Promote | RollBack
ACTION_NAMES: dict[type[Action], str] = {
    Continue: "continue",
    Hold: "hold",
    Advance: "advance",
    Promote: "promote",
    RollBack: "rollback",
}


def step_at(plan: Plan, percent: float) -> int:
    """Return the last step whose percentage is not above `percent`, or BEFORE_PLAN."""
    return sum(step.percent <= percent for step in plan.steps) - 1


def bake_over(rollout: Position, now: float) -> bool:
    """Return whether the current step has lasted as long as its plan asks."""
    return now - rollout.step_started_at >= rollout.current_step.bake_seconds


def next_action(rollout: Position, verdict: Verdict, now: float) -> Action:
    """Return the next action. A rollback acts even on a paused rollout; an ended rollout never changes again."""
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
        return Hold(("the step has passed and its gate is manual: it waits for an operator",))
    following = rollout.step + 1
    if following == len(rollout.plan.steps):
        return Promote()
    return Advance(following, rollout.plan.steps[following].percent)
