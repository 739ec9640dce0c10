"""Every change of a rollout: its row, the registry, the logs and the audit log change in the caller's transaction.

The caller has locked the row of the rollout that it passes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from canary.judge.verdict import Verdict
from canary.rollout import store
from canary.rollout.change import CONTROLLER, Change, by_controller
from canary.rollout.next_action import RolloutStatus, step_at
from canary.rollout.store import NewRollout, StoredRollout
from registry import audit
from registry.model_version import Status as ModelStatus
from registry.store import change_status, get_version
from runtime.postgres import Connection


def start(connection: Connection, new: NewRollout, change: Change, backtest_id: str | None = None) -> StoredRollout:
    """Insert a rollout and make its version the canary. `backtest_id`: the backtest that its plan required."""
    rollout = store.insert_rollout(connection, new, actor=change.actor)
    _set_model_status(connection, rollout, ModelStatus.CANARY, Change(change.actor, "its rollout starts"))
    _audit(connection, "canary.started", None, rollout, change, {"backtest_id": backtest_id} if backtest_id else {})
    return rollout


def set_percent(connection: Connection, rollout: StoredRollout, percent: float, change: Change) -> StoredRollout:
    """Route another percentage; the plan continues from the step that the percentage falls in."""
    step = step_at(rollout.plan, percent)
    return _begin_phase(connection, "canary.percent_changed", rollout, percent, step, change)


def go_to_step(connection: Connection, rollout: StoredRollout, step: int, change: Change) -> StoredRollout:
    percent = rollout.plan.steps[step].percent
    return _begin_phase(connection, "canary.advanced", rollout, percent, step, change)


def follow_production(connection: Connection, rollout: StoredRollout, production_model_id: str) -> StoredRollout:
    """Judge against another production version, from the start of the step."""
    changed = store.begin_phase(
        connection,
        rollout.rollout_id,
        percent=rollout.canary_percent,
        step=rollout.step,
        production_model_id=production_model_id,
        actor=CONTROLLER,
    )
    change = by_controller("another version became production")
    _audit(connection, "canary.production_changed", rollout, changed, change)
    return changed


def restart_step(connection: Connection, rollout: StoredRollout, *, unjudged_seconds: float) -> StoredRollout:
    """Restart the step after a time without verdicts: workers had stopped routing, so the silence proves nothing."""
    change = by_controller(f"it was not judged for {unjudged_seconds:.0f} s")
    percent, step = rollout.canary_percent, rollout.step
    return _begin_phase(connection, "canary.step_restarted", rollout, percent, step, change)


def pause(connection: Connection, rollout: StoredRollout, change: Change) -> StoredRollout:
    """Keep the split and stop advancing; the judge may still roll back."""
    return _set_status(connection, "canary.paused", rollout, "paused", change)


def resume(connection: Connection, rollout: StoredRollout, change: Change) -> StoredRollout:
    return _set_status(connection, "canary.resumed", rollout, "running", change)


def finish(connection: Connection, rollout: StoredRollout, change: Change) -> StoredRollout:
    """End the rollout as promoted, and make the canary production unless it is already."""
    ended = _set_status(connection, "canary.promoted", rollout, "promoted", change)
    _set_model_status(connection, rollout, ModelStatus.PRODUCTION, Change(change.actor, "its rollout passed"))
    return ended


def stop(connection: Connection, rollout: StoredRollout, change: Change) -> StoredRollout:
    """Send all traffic to production.

    A canary that has become production ends as promoted; any other returns to staging and may be tried again.
    """
    status = get_version(connection, rollout.canary_model_id).status
    if status is ModelStatus.PRODUCTION:
        return finish(connection, rollout, change)
    ended = _set_status(connection, "canary.stopped", rollout, "stopped", change)
    if status is ModelStatus.CANARY:
        _set_model_status(connection, rollout, ModelStatus.STAGING, Change(change.actor, "its rollout was stopped"))
    return ended


def roll_back(connection: Connection, rollout: StoredRollout, verdict: Verdict) -> StoredRollout:
    """End the rollout, and record each measurement that asked for it."""
    reason = "; ".join(f"{m.name}: {m.reason}" for m in verdict.measurements if m.outcome == "rollback")
    change = by_controller(reason)
    ended = _set_status(connection, "canary.rolled_back", rollout, "rolled_back", change)
    _set_model_status(connection, rollout, ModelStatus.ROLLED_BACK, change)
    store.insert_rollback(connection, rollout, reason=reason, actor=CONTROLLER, measurements=verdict.measurements)
    return ended


def _begin_phase(
    connection: Connection, action: str, rollout: StoredRollout, percent: float, step: int, change: Change
) -> StoredRollout:
    changed = store.begin_phase(connection, rollout.rollout_id, percent=percent, step=step, actor=change.actor)
    _audit(connection, action, rollout, changed, change)
    return changed


def _set_status(
    connection: Connection, action: str, rollout: StoredRollout, status: RolloutStatus, change: Change
) -> StoredRollout:
    changed = store.set_status(connection, rollout.rollout_id, status)
    _audit(connection, action, rollout, changed, change)
    return changed


def _set_model_status(connection: Connection, rollout: StoredRollout, status: ModelStatus, change: Change) -> None:
    change_status(connection, rollout.canary_model_id, status, actor=change.actor, reason=change.reason)


def _audit(
    connection: Connection,
    action: str,
    before: StoredRollout | None,
    after: StoredRollout,
    change: Change,
    more: Mapping[str, str] = MappingProxyType({}),
) -> None:
    audit.append(
        connection,
        actor=change.actor,
        action=action,
        subject=after.rollout_id,
        before=_audited(before) if before else None,
        after={**_audited(after), **more},
        reason=change.reason,
    )


def _audited(rollout: StoredRollout) -> dict[str, Any]:
    return {
        "product": rollout.product,
        "status": rollout.status,
        "canary_percent": rollout.canary_percent,
        "step": rollout.step,
        "canary_model_id": rollout.canary_model_id,
        "production_model_id": rollout.production_model_id,
    }
