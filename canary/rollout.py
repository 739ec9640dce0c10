"""What happens to a rollout next: pure, from its plan, its place in it and the latest verdict."""

from typing import Literal

import msgspec

from canary.plan import Plan, Step
from canary.verdict import Verdict

Status = Literal["running", "paused", "stopped", "rolled_back", "promoted"]


class Rollout(msgspec.Struct, frozen=True):
    """A rollout's place in its plan. `step_started_at`: epoch seconds; `gate_opened`: an operator's go."""

    plan: Plan
    status: Status
    step: int
    step_started_at: float
    gate_opened: bool = False

    @property
    def current_step(self) -> Step:
        return self.plan.steps[self.step]


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
    if rollout.current_step.gate == "manual" and not rollout.gate_opened:
        return Hold(("the step has passed and its gate is manual: it waits for an operator's go",))
    following = rollout.step + 1
    if following == len(rollout.plan.steps):
        return Promote()
    return Advance(following, rollout.plan.steps[following].percent)
