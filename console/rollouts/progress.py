"""Where a rollout is in its plan, with bake clocks, and what it waits for. Pure."""

from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from canary.plan import Step
from canary.rollout.store import StoredRollout
from console.charts import meter
from console.rollouts.course import JudgedMoment
from console.words import duration


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of the plan. `state`: done, current, or next; `baked` of `bake` seconds have passed."""

    number: int
    percent: float
    bake: float
    baked: float
    gate: str
    state: str
    meter: Markup

    @property
    def clock(self) -> str:
        if self.state == "current" and self.baked < self.bake:
            return f"{duration(self.bake - self.baked)} of {duration(self.bake)} left"
        return duration(self.bake) if self.bake else "no bake time"


def steps(rollout: StoredRollout, now: datetime) -> list[PlannedStep]:
    return [_step(rollout, place, step, now) for place, step in enumerate(rollout.plan.steps)]


def _step(rollout: StoredRollout, place: int, step: Step, now: datetime) -> PlannedStep:
    until = rollout.ended_at or now
    if rollout.status == "promoted" or place < rollout.step:
        state, baked = "done", float(step.bake_seconds)
    elif place == rollout.step:
        state = "current" if rollout.live else "reached"
        baked = min(float(step.bake_seconds), max(0.0, (until - rollout.step_started_at).total_seconds()))
    else:
        state, baked = "next", 0.0
    share = baked / step.bake_seconds if step.bake_seconds else float(state in ("done", "current"))
    title = f"{duration(baked)} of {duration(step.bake_seconds)} baked"
    return PlannedStep(place + 1, step.percent, step.bake_seconds, baked, step.gate, state, meter(share, title, state))


def waits_for(rollout: StoredRollout, moment: JudgedMoment | None, now: datetime) -> str:
    """Return what a rollout waits for, in one sentence."""
    if not rollout.live:
        ending = {"promoted": "is production now", "rolled_back": "was rolled back", "stopped": "was stopped"}
        return f"This rollout has ended: the canary {ending[rollout.status]}."
    if rollout.status == "paused":
        return "An operator has paused it: it keeps its share, and waits to be resumed. A rollback would still act."
    if moment is None:
        return "It has not been judged yet: the controller judges every few seconds."
    if moment.verdict == "hold":
        return f"It is on hold: {'; '.join(moment.reasons)}."
    if moment.verdict == "rollback":
        return f"It is being rolled back: {'; '.join(moment.reasons)}."
    if moment.verdict == "continue" and not _only_bakes(moment):
        return f"It waits for more evidence: {'; '.join(moment.reasons)}."
    position = rollout.position()
    left = position.current_step.bake_seconds - (now - rollout.step_started_at).total_seconds()
    if left > 0:
        return f"Every measurement passes; the step must last another {duration(left)}."
    if position.current_step.gate == "manual":
        return "Every measurement passes; the step's gate is manual, so it waits for an operator."
    return "Every measurement passes: it advances with the next verdict."


def _only_bakes(moment: JudgedMoment) -> bool:
    """Return whether the bake time is all that is missing."""
    missing = [one.name for one in moment.measurements if one.outcome == "unknown" and one.required]
    return missing == ["bake"]
