"""What a person may do to a rollout: each action is confirmed first, and then calls what the API's route calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from canary.plan import Plan
from canary.rollout import operations
from canary.rollout import store as rollout_store
from canary.rollout.change import Change
from canary.rollout.operations import CanaryConflict
from canary.rollout.request import WithReason
from canary.rollout.store import StoredRollout
from console.pages import Elsewhere, PageRoute, Screen, Visit, path_to
from console.rollouts import store
from console.rollouts.store import Traffic
from console.words import rate
from edge.control.routes import Access
from edge.problems import HttpError
from registry.model_version import Status
from registry.store import change_status
from runtime.postgres import Connection
from runtime.reading import InputInvalid, Violation, read

Perform = Callable[[Connection, StoredRollout, Change], object]
Consequences = Callable[[StoredRollout, Traffic], Sequence[str]]


@dataclass(frozen=True, slots=True)
class RolloutAction:
    """`fits`: whether it makes sense now; `consequences`: what it will do to how much traffic, in sentences."""

    name: str
    label: str
    done: str
    fits: Callable[[StoredRollout], bool]
    consequences: Consequences
    perform: Perform
    kind: str = ""


def possible(rollout: StoredRollout) -> list[RolloutAction]:
    """Return the actions that a rollout allows now."""
    return [action for action in ACTIONS.values() if rollout.live and action.fits(rollout)]


def confirm(visit: Visit) -> Screen:
    """Show what an action will do, and ask for the reason."""
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        rollout = _find(connection, visit)
        traffic = store.requests_per_second(connection, rollout.product, visit.now)
        names = store.names(connection, (rollout.canary_model_id, rollout.production_model_id))
    return _confirmation(visit, rollout, traffic, names)


def act(visit: Visit) -> Screen | Elsewhere:
    """Perform an action, if the rollout is still as the person saw it."""
    with visit.console.resources.connect() as connection:
        seen = _find(connection, visit)
        action = _action(visit, seen)
        try:
            reason = _reason(visit)
        except InputInvalid as invalid:
            traffic = store.requests_per_second(connection, seen.product, visit.now)
            names = store.names(connection, (seen.canary_model_id, seen.production_model_id))
            return _confirmation(visit, seen, traffic, names, invalid.violations[0].detail)
        rollout = operations.lock_live(connection, seen.product)
        if rollout.rollout_id != seen.rollout_id or state_of(rollout) != visit.form.get("seen"):
            raise CanaryConflict("the rollout has changed since you looked: look again, then decide")
        action.perform(connection, rollout, Change(visit.actor, reason))
    return Elsewhere(path_to("rollouts", seen.rollout_id), action.done)


def state_of(rollout: StoredRollout) -> str:
    """Return what must not have changed between looking and acting."""
    return f"{rollout.phase}-{rollout.status}"


def _find(connection: Connection, visit: Visit) -> StoredRollout:
    rollout = rollout_store.find_rollout(connection, visit.path["rollout_id"])
    if rollout is None:
        raise HttpError(404, "no such rollout")
    return rollout


def _action(visit: Visit, rollout: StoredRollout) -> RolloutAction:
    action = ACTIONS.get(visit.path["action"])
    if action is None:
        raise HttpError(404, "no such action")
    if action not in possible(rollout):
        raise CanaryConflict(f"a rollout that is {rollout.status} at this step cannot {action.label.lower()}")
    return action


def _reason(visit: Visit) -> str:
    text = visit.form.get("reason", "").strip()
    if not text:
        raise InputInvalid([Violation("reason", "write why: it is kept in the audit log")])
    try:
        body = read(WithReason, {"reason": text})
    except InputInvalid as invalid:
        raise InputInvalid(Violation("reason", f"the reason {v.detail}") for v in invalid.violations) from None
    assert body.reason is not None
    return body.reason


def _confirmation(
    visit: Visit, rollout: StoredRollout, traffic: Traffic, names: Mapping[str, str], fault: str | None = None
) -> Screen:
    action = _action(visit, rollout)
    values = {
        "rollout": rollout,
        "action": action,
        "names": names,
        "consequences": action.consequences(rollout, traffic),
        "traffic": traffic,
        "seen": state_of(rollout),
        "fault": fault,
        "reason": visit.form.get("reason", ""),
    }
    return Screen("rollouts/confirm.html.j2", action.label, "rollouts", values, status=422 if fault else 200)


def split_text(percent: float, traffic: Traffic) -> str:
    """Return a share of the traffic in words: "25 % of the keys, about 60 of 240 requests/s"."""
    if traffic.total == 0:
        return f"{percent:g} % of the keys (no traffic at present)"
    part = traffic.total * percent / 100
    return f"{percent:g} % of the keys, about {rate(part)} of {rate(traffic.total)} requests/s"


def _following(plan: Plan, step: int) -> float | None:
    return plan.steps[step + 1].percent if step + 1 < len(plan.steps) else None


def _is_last(rollout: StoredRollout) -> bool:
    return _following(rollout.plan, rollout.step) is None


def _pausing(rollout: StoredRollout, traffic: Traffic) -> list[str]:
    return [
        f"The canary keeps {split_text(rollout.canary_percent, traffic)}.",
        "It does not advance until someone resumes it. The judge may still roll it back.",
    ]


def _resuming(rollout: StoredRollout, traffic: Traffic) -> list[str]:
    return [
        f"The canary keeps {split_text(rollout.canary_percent, traffic)}.",
        "The plan continues: the next verdict may advance it at once if the step has lasted long enough.",
    ]


def _advancing(rollout: StoredRollout, traffic: Traffic) -> list[str]:
    following = _following(rollout.plan, rollout.step)
    assert following is not None
    return [
        f"The canary goes from {rollout.canary_percent:g} % to {split_text(following, traffic)}.",
        "Keys that it answers now stay with it. The evidence of the step and its bake time start again.",
        "This does not wait for the bake time or the verdict.",
    ]


def _promoting(rollout: StoredRollout, traffic: Traffic) -> list[str]:
    return [
        f"The canary becomes production and answers everything: {split_text(100, traffic)}.",
        "Today's production version is retired. Promoting it again is the way back, without a restart.",
        "This does not wait for the remaining steps, the bake time or the verdict.",
    ]


def _stopping(rollout: StoredRollout, traffic: Traffic) -> list[str]:
    share = split_text(rollout.canary_percent, traffic)
    return [
        f"The canary loses its {share}: production answers everything within about a second.",
        "Its version returns to staging, and may be tried again in a new rollout.",
    ]


def _promote(connection: Connection, rollout: StoredRollout, change: Change) -> object:
    change_status(connection, rollout.canary_model_id, Status.PRODUCTION, actor=change.actor, reason=change.reason)
    return operations.stop(connection, rollout.product, change)


ACTIONS: Mapping[str, RolloutAction] = {
    action.name: action
    for action in (
        RolloutAction(
            "pause",
            "Pause",
            "rollout_paused",
            lambda rollout: rollout.status == "running",
            _pausing,
            lambda connection, rollout, change: operations.pause(connection, rollout.product, change),
        ),
        RolloutAction(
            "resume",
            "Resume",
            "rollout_resumed",
            lambda rollout: rollout.status == "paused",
            _resuming,
            lambda connection, rollout, change: operations.resume(connection, rollout.product, change),
        ),
        RolloutAction(
            "next",
            "Next step",
            "rollout_advanced",
            lambda rollout: not _is_last(rollout),
            _advancing,
            lambda connection, rollout, change: operations.next_step(connection, rollout.product, change),
        ),
        RolloutAction("promote", "Promote", "rollout_promoted", lambda rollout: True, _promoting, _promote, "primary"),
        RolloutAction(
            "stop",
            "Stop",
            "rollout_stopped",
            lambda rollout: True,
            _stopping,
            lambda connection, rollout, change: operations.stop(connection, rollout.product, change),
            "danger",
        ),
    )
}

_PATH = f"{path_to('rollouts')}/{{rollout_id}}/{{action}}"
ROUTES = (PageRoute("GET", _PATH, Access.ML_OPS, confirm), PageRoute("POST", _PATH, Access.ML_OPS, act))
