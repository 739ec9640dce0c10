"""One evaluation, a straight line: lease -> rollout -> evidence -> judge -> next action -> verdict and action stored.

Each rollout has a transaction of its own: one that cannot be judged does not keep the others from it.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import psycopg

from canary import evidence_store, moves, sequential, store
from canary.absorption import absorb
from canary.conditions import Inputs
from canary.evidence import sealed_before
from canary.evidence_store import PhasedBucket, Standing
from canary.judge_state import JudgeState, begin_phase, decode_state, encode_state
from canary.rollout import Action, Advance, Continue, Hold, Promote, RollBack, bake_over, next_action
from canary.routing import UNJUDGED_SECONDS
from canary.sources import Answers, Sources
from canary.store import StoredRollout
from canary.verdict import Verdict, judge
from registry.model_version import Status as ModelStatus
from runtime.postgres import Connection

log = logging.getLogger("sira.canary.tick")

DISPERSION_AGE_SECONDS = 3600.0
ACTION_NAMES: dict[type[Action], str] = {
    Continue: "continue",
    Hold: "hold",
    Advance: "advance",
    Promote: "promote",
    RollBack: "rollback",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """`rollout` as it is after `action`. `verdict` and `action` are None when it ended without being judged."""

    rollout: StoredRollout
    verdict: Verdict | None
    action: Action | None


def tick(connection: Connection, holder: str, sources: Sources, *, stale_seconds: float) -> list[Judged] | None:
    """Judge every live rollout; None when another controller holds the lease. `connection` is in autocommit."""
    if not evidence_store.take_lease(connection, holder, stale_seconds=stale_seconds):
        return None
    rollouts = store.live_rollouts(connection)
    if not rollouts:
        return []
    # Asked outside the transactions: an answer that is slow to come must lock nothing.
    answers = sources.ask({metric.query for rollout in rollouts for metric in rollout.limits.metrics})
    judged = (_judge_alone(connection, rollout, answers) for rollout in rollouts)
    return [outcome for outcome in judged if outcome]


def _judge_alone(connection: Connection, rollout: StoredRollout, answers: Answers) -> Judged | None:
    try:
        with connection.transaction():
            return judge_rollout(connection, rollout.rollout_id, answers)
    except psycopg.Error:
        if connection.closed:
            raise
        log.exception("rollout_not_judged", extra={"rollout_id": rollout.rollout_id, "product": rollout.product})
    except Exception:
        log.exception("rollout_not_judged", extra={"rollout_id": rollout.rollout_id, "product": rollout.product})
    return None


def judge_rollout(connection: Connection, rollout_id: str, answers: Answers) -> Judged | None:
    """None when it ended meanwhile."""
    evidence_store.lock_evidence(connection, rollout_id)
    rollout = store.lock_rollout(connection, rollout_id)
    if rollout is None or not rollout.live:
        return None
    standing = evidence_store.standing(connection, rollout_id)
    if standing.canary_status is not ModelStatus.CANARY:
        why = f"the canary's version is {standing.canary_status} in the registry"
        return Judged(moves.stop(connection, rollout, actor=moves.CONTROLLER, reason=why), None, None)
    if standing.production_now and standing.production_now != rollout.production_model_id:
        rollout = moves.follow_production(connection, rollout, standing.production_now)
    unjudged_seconds = standing.now - rollout.sealed_through.timestamp()
    if unjudged_seconds > UNJUDGED_SECONDS:
        rollout = moves.begin_again(connection, rollout, unjudged_seconds=unjudged_seconds)
    rollout = _with_dispersion(connection, rollout, standing.now)
    through = max(rollout.sealed_through.timestamp(), sealed_before(standing.now))
    sealed = evidence_store.buckets(connection, rollout_id, first=rollout.sealed_through.timestamp(), through=through)
    before = decode_state(rollout.judge_state) if rollout.judge_state else None
    state = absorb_sealed(before, sealed, rollout, through)
    inputs = _inputs(rollout, standing, answers)
    verdict = judge(state, rollout.policy(), inputs)
    action = next_action(rollout.place(), verdict, standing.now)
    evidence_store.insert_verdict(connection, rollout, verdict, ACTION_NAMES[type(action)], inputs, through=through)
    encoded = encode_state(state).decode() if state else None
    evidence_store.seal(connection, rollout_id, through=through, judge_state=encoded)
    return Judged(apply(connection, rollout, verdict, action), verdict, action)


def absorb_sealed(
    state: JudgeState | None, sealed: Iterable[PhasedBucket], rollout: StoredRollout, through: float
) -> JudgeState | None:
    """The state at `through` (epoch seconds), in the rollout's phase even if nothing was answered in it yet."""
    for found in sealed:
        state = absorb(state, found.bucket, rollout.policy(found.percent))
    if state and state.phase.number < rollout.phase:
        # What the phase before has earned must not carry this one.
        state = begin_phase(state, rollout.phase, int(through))
    return state


def apply(connection: Connection, rollout: StoredRollout, verdict: Verdict, action: Action) -> StoredRollout:
    reason = "; ".join(verdict.reasons)
    match action:
        case Advance(to_step=step):
            return moves.go_to_step(connection, rollout, step, actor=moves.CONTROLLER, reason=reason)
        case Promote():
            return moves.promote(connection, rollout, actor=moves.CONTROLLER, reason=reason)
        case RollBack():
            return moves.roll_back(connection, rollout, verdict)
        case Continue() | Hold():
            return rollout


def _inputs(rollout: StoredRollout, standing: Standing, answers: Answers) -> Inputs:
    return Inputs(
        now=standing.now,
        bake_over=bake_over(rollout.place(), standing.now),
        critical_alerts=answers.critical_alerts,
        metrics={metric.name: answers.values.get(metric.query) for metric in rollout.limits.metrics},
        labels=standing.labels,
        fuse_trips=standing.fuse_trips,
    )


def _with_dispersion(connection: Connection, rollout: StoredRollout, now: float) -> StoredRollout:
    """With production's dispersion of the last day, estimated anew every hour: it takes a day's rows to read."""
    if rollout.dispersion_at and now - rollout.dispersion_at.timestamp() < DISPERSION_AGE_SECONDS:
        return rollout
    cells = evidence_store.production_error_cells(connection, rollout.product, now)
    dispersion = sequential.dispersion(cells)
    evidence_store.set_dispersion(connection, rollout.rollout_id, dispersion)
    return replace(rollout, dispersion=dispersion)
