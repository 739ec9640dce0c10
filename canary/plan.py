"""The plan of a rollout: steps of rising percentage, frozen with the rollout, checked when it is read."""

from itertools import pairwise
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from canary.errors import PlanInvalid
from canary.limits import Name, Percent, read_fields

Gate = Literal["auto", "manual"]

_HOUR = 3600


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of traffic, held for at least `bake_seconds`. A manual gate also waits for an operator."""

    percent: Percent
    bake_seconds: Annotated[int, Meta(ge=0, le=90 * 24 * _HOUR)] = 24 * _HOUR
    gate: Gate = "auto"


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps of rising percentage; passing the last one promotes."""

    steps: tuple[Step, ...]
    name: Name = "custom"


DEFAULT_PLAN = Plan(
    name="default",
    steps=(
        Step(percent=10, bake_seconds=24 * _HOUR),
        Step(percent=25, bake_seconds=24 * _HOUR),
        Step(percent=50, bake_seconds=48 * _HOUR),
        Step(percent=100, bake_seconds=72 * _HOUR),
    ),
)
NAMED_PLANS = {DEFAULT_PLAN.name: DEFAULT_PLAN}


def parse_plan(raw: object) -> Plan:
    """A plan from decoded JSON: a name ("default") or `{"steps": [...]}`. Raises PlanInvalid with every fault."""
    if isinstance(raw, str):
        if raw not in NAMED_PLANS:
            raise PlanInvalid([f"plan: no plan of this name, there is {', '.join(sorted(NAMED_PLANS))}"])
        return NAMED_PLANS[raw]
    faults: list[str] = []
    fields = read_fields(Plan, raw, "plan", faults, lists={"steps": Step})
    steps = fields.get("steps", ())
    if isinstance(raw, dict) and not steps and not faults:
        faults.append("plan.steps: at least one step is needed")
    if any(later.percent <= earlier.percent for earlier, later in pairwise(steps)):
        faults.append("plan.steps: every percent must be above the one before it")
    if faults:
        raise PlanInvalid(faults)
    return Plan(**fields)
