"""Every change of a rollout: the row, the registry, the logs and the audit move together, in the caller's transaction.

The rollout given is one whose row the caller has locked.
"""

from typing import Any

from canary.judge.verdict import Verdict
from canary.rollout import store
from canary.rollout.next_action import Status, step_at
from canary.rollout.store import NewRollout, StoredRollout
from registry import audit
from registry.model_version import Status as ModelStatus
from registry.store import change_status, get_version
from runtime.postgres import Connection

CONTROLLER = "controller"


def start(connection: Connection, new: NewRollout, *, actor: str, reason: str | None) -> StoredRollout:
    rollout = store.insert_rollout(connection, new, actor=actor)
    change_status(connection, rollout.canary_model_id, ModelStatus.CANARY, actor=actor, reason="its rollout starts")
    _audit(connection, "canary.started", None, rollout, actor, reason)
    return rollout


def set_percent(
    connection: Connection, rollout: StoredRollout, percent: float, *, actor: str, reason: str | None
) -> StoredRollout:
    """An operator's own percentage; the plan goes on from the step it belongs to."""
    step = step_at(rollout.plan, percent)
    return _split(connection, "canary.percent_changed", rollout, percent, step, actor, reason)


def go_to_step(
    connection: Connection, rollout: StoredRollout, step: int, *, actor: str, reason: str | None
) -> StoredRollout:
    percent = rollout.plan.steps[step].percent
    return _split(connection, "canary.advanced", rollout, percent, step, actor, reason)


def follow_production(connection: Connection, rollout: StoredRollout, production_model_id: str) -> StoredRollout:
    """Someone made another version production: the step begins again, judged against that one."""
    changed = store.begin_phase(
        connection,
        rollout.rollout_id,
        percent=rollout.canary_percent,
        step=rollout.step,
        production_model_id=production_model_id,
        actor=CONTROLLER,
    )
    _audit(connection, "canary.production_changed", rollout, changed, CONTROLLER, "production was replaced meanwhile")
    return changed


def begin_again(connection: Connection, rollout: StoredRollout, *, unjudged_seconds: float) -> StoredRollout:
    """Workers stopped routing while nobody judged: that silence says nothing about the canary, so its step restarts."""
    reason = f"nobody judged it for {unjudged_seconds:.0f} s"
    percent, step = rollout.canary_percent, rollout.step
    return _split(connection, "canary.step_restarted", rollout, percent, step, CONTROLLER, reason)


def pause(connection: Connection, rollout: StoredRollout, *, actor: str, reason: str | None) -> StoredRollout:
    """The split stays, the judge goes on and may roll back; nothing advances."""
    return _set_status(connection, "canary.paused", rollout, "paused", actor, reason)


def resume(connection: Connection, rollout: StoredRollout, *, actor: str, reason: str | None) -> StoredRollout:
    return _set_status(connection, "canary.resumed", rollout, "running", actor, reason)


def promote(connection: Connection, rollout: StoredRollout, *, actor: str, reason: str | None) -> StoredRollout:
    """The canary becomes production, if it is not already."""
    ended = _set_status(connection, "canary.promoted", rollout, "promoted", actor, reason)
    change_status(connection, rollout.canary_model_id, ModelStatus.PRODUCTION, actor=actor, reason="its rollout passed")
    return ended


def stop(connection: Connection, rollout: StoredRollout, *, actor: str, reason: str | None) -> StoredRollout:
    """All traffic to production. A canary that is production by now was promoted; any other may be tried again."""
    status = get_version(connection, rollout.canary_model_id).status
    if status is ModelStatus.PRODUCTION:
        return promote(connection, rollout, actor=actor, reason=reason)
    ended = _set_status(connection, "canary.stopped", rollout, "stopped", actor, reason)
    if status is ModelStatus.CANARY:
        why = "its rollout was stopped"
        change_status(connection, rollout.canary_model_id, ModelStatus.STAGING, actor=actor, reason=why)
    return ended


def roll_back(connection: Connection, rollout: StoredRollout, verdict: Verdict) -> StoredRollout:
    reason = "; ".join(f"{m.name}: {m.reason}" for m in verdict.measurements if m.outcome == "rollback")
    ended = _set_status(connection, "canary.rolled_back", rollout, "rolled_back", CONTROLLER, reason)
    change_status(connection, rollout.canary_model_id, ModelStatus.ROLLED_BACK, actor=CONTROLLER, reason=reason)
    store.insert_rollback(connection, rollout, reason=reason, actor=CONTROLLER, measurements=verdict.measurements)
    return ended


def _split(
    connection: Connection,
    action: str,
    rollout: StoredRollout,
    percent: float,
    step: int,
    actor: str,
    reason: str | None,
) -> StoredRollout:
    changed = store.begin_phase(connection, rollout.rollout_id, percent=percent, step=step, actor=actor)
    _audit(connection, action, rollout, changed, actor, reason)
    return changed


def _set_status(
    connection: Connection, action: str, rollout: StoredRollout, status: Status, actor: str, reason: str | None
) -> StoredRollout:
    changed = store.set_status(connection, rollout.rollout_id, status)
    _audit(connection, action, rollout, changed, actor, reason)
    return changed


def _audit(
    connection: Connection,
    action: str,
    before: StoredRollout | None,
    after: StoredRollout,
    actor: str,
    reason: str | None,
) -> None:
    audit.append(
        connection,
        actor=actor,
        action=action,
        subject=after.rollout_id,
        before=_state(before) if before else None,
        after=_state(after),
        reason=reason,
    )


def _state(rollout: StoredRollout) -> dict[str, Any]:
    return {
        "product": rollout.product,
        "status": rollout.status,
        "canary_percent": rollout.canary_percent,
        "step": rollout.step,
        "canary_model_id": rollout.canary_model_id,
        "production_model_id": rollout.production_model_id,
    }
