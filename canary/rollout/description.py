"""A rollout as HTTP and `--json` show it."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from canary.judge.measurement import Measurement
from canary.judge.verdict import VerdictKind
from canary.limits import Limits, Mode
from canary.plan import Gate, Plan
from canary.rollout.next_action import RolloutStatus
from canary.rollout.store import StoredRollout
from canary.rollout.verdicts import StoredVerdict

CanaryState = Literal[RolloutStatus, "none"]


class CanarySummary(msgspec.Struct):
    """The public summary of a product's canary. `canary_percent` is 0 when none runs."""

    product: str
    canary_percent: float
    state: CanaryState


class CanaryVerdict(msgspec.Struct):
    """The latest verdict and the measurements behind it."""

    verdict: VerdictKind
    action: str
    reasons: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    dispersion: float | None
    evidence_through: datetime
    judged_at: datetime


class CanaryDescription(msgspec.Struct):
    """A rollout with the reasons for its state. Times are RFC 3339; `step` counts from 0, -1 is before the first."""

    product: str
    canary_percent: float
    state: CanaryState
    rollout_id: str
    canary_model_id: str
    production_model_id: str
    mode: Mode
    step: int
    steps: int
    gate: Gate
    step_started_at: datetime
    bake_ends_at: datetime
    phase: int
    plan: Plan
    limits: Limits
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    verdict: CanaryVerdict | None


def summary(product: str, rollout: StoredRollout | None) -> CanarySummary:
    """Return the public summary: the state of the latest rollout, and 0 % when none runs."""
    if rollout is None:
        return CanarySummary(product, 0, "none")
    return CanarySummary(product, rollout.canary_percent, rollout.status)


def description(rollout: StoredRollout, verdict: StoredVerdict | None) -> CanaryDescription:
    """Return everything about a rollout, with the reasons for its state."""
    current = rollout.position().current_step
    return CanaryDescription(
        product=rollout.product,
        canary_percent=rollout.canary_percent,
        state=rollout.status,
        rollout_id=rollout.rollout_id,
        canary_model_id=rollout.canary_model_id,
        production_model_id=rollout.production_model_id,
        mode=rollout.mode,
        step=rollout.step,
        steps=len(rollout.plan.steps),
        gate=current.gate,
        step_started_at=rollout.step_started_at,
        bake_ends_at=rollout.step_started_at + timedelta(seconds=current.bake_seconds),
        phase=rollout.phase,
        plan=rollout.plan,
        limits=rollout.limits,
        created_at=rollout.created_at,
        created_by=rollout.created_by,
        ended_at=rollout.ended_at,
        verdict=None if verdict is None else verdict_description(verdict),
    )


def verdict_description(verdict: StoredVerdict) -> CanaryVerdict:
    return CanaryVerdict(
        verdict=verdict.verdict,
        action=verdict.action,
        reasons=verdict.reasons,
        measurements=verdict.measurements,
        dispersion=verdict.dispersion,
        evidence_through=verdict.evidence_through,
        judged_at=verdict.judged_at,
    )
