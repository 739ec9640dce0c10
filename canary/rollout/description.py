"""A rollout as HTTP and `--json` show it: plain values, with times in RFC 3339."""

from datetime import timedelta
from typing import Any

import msgspec

from canary.rollout.store import StoredRollout, StoredVerdict

NO_CANARY = "none"


def summary(product: str, rollout: StoredRollout | None) -> dict[str, Any]:
    """Return the public summary: the state of the latest rollout, and 0 % when none runs."""
    return {
        "product": product,
        "canary_percent": rollout.canary_percent if rollout else 0,
        "state": rollout.status if rollout else NO_CANARY,
    }


def description(rollout: StoredRollout, verdict: StoredVerdict | None) -> dict[str, Any]:
    """Return everything about a rollout, with the reasons for its state."""
    return {
        **summary(rollout.product, rollout),
        "rollout_id": rollout.rollout_id,
        "canary_model_id": rollout.canary_model_id,
        "production_model_id": rollout.production_model_id,
        "mode": rollout.mode,
        "step": rollout.step,
        "steps": len(rollout.plan.steps),
        "gate": rollout.position().current_step.gate,
        "step_started_at": rollout.step_started_at,
        "bake_ends_at": rollout.step_started_at + timedelta(seconds=rollout.position().current_step.bake_seconds),
        "phase": rollout.phase,
        "plan": msgspec.to_builtins(rollout.plan),
        "limits": msgspec.to_builtins(rollout.limits),
        "created_at": rollout.created_at,
        "created_by": rollout.created_by,
        "ended_at": rollout.ended_at,
        "verdict": verdict_description(verdict) if verdict else None,
    }


def verdict_description(verdict: StoredVerdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "action": verdict.action,
        "reasons": verdict.reasons,
        "measurements": verdict.measurements,
        "dispersion": verdict.dispersion,
        "evidence_through": verdict.evidence_through,
        "judged_at": verdict.judged_at,
    }
