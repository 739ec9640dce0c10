"""One evaluation, a straight line: lease -> rollouts -> evidence -> judge -> next actions -> all of it stored.

All rollouts share a transaction: one of its own for each would cost fifty of them half a second. When it fails they are
judged one by one, so that the one that cannot be judged keeps no other from it.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from canary.controller import store as evidence_store
from canary.controller.sources import Answers, Sources
from canary.controller.store import Judgement, PhasedBucket, Span, Standing
from canary.judge import sequential
from canary.judge.absorb import absorb
from canary.judge.evidence import BEFORE_SECONDS, sealed_before
from canary.judge.safety_rules import Inputs
from canary.judge.state import JudgeState, Remembered, begin_phase
from canary.judge.verdict import Verdict, judge
from canary.rollout import store, transitions
from canary.rollout.next_action import Action, Advance, Continue, Hold, Promote, RollBack, bake_over, next_action
from canary.rollout.store import StoredRollout
from canary.split import UNJUDGED_SECONDS
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


def tick(
    connection: Connection,
    holder: str,
    sources: Sources,
    *,
    stale_seconds: float,
    remembered: Remembered | None = None,
) -> list[Judged] | None:
    """Judge every live rollout; None when another controller holds the lease. `connection` is in autocommit.

    `remembered` is the same from tick to tick.
    """
    if not evidence_store.take_lease(connection, holder, stale_seconds=stale_seconds):
        return None
    live = store.live_metrics(connection)
    if not live:
        return []
    # Asked outside the transaction: an answer that is slow to come must lock nothing.
    answers = sources.ask({metric.query for metrics in live.values() for metric in metrics})
    rollout_ids = list(live)
    remembered = remembered or Remembered()
    judged = _judge(connection, rollout_ids, answers, remembered)
    if judged is None and len(rollout_ids) > 1:
        alone = [_judge(connection, [rollout_id], answers, remembered) for rollout_id in rollout_ids]
        return [outcome for outcomes in alone for outcome in outcomes or ()]
    return judged or []


def _judge(
    connection: Connection, rollout_ids: Sequence[str], answers: Answers, remembered: Remembered
) -> list[Judged] | None:
    """None when it failed; raises psycopg.Error when the connection is gone."""
    try:
        with connection.transaction():
            return judge_rollouts(connection, rollout_ids, answers, remembered)
    except Exception:
        if connection.closed:
            raise
        log.exception("rollouts_not_judged", extra={"rollout_ids": rollout_ids})
        return None


def judge_rollouts(
    connection: Connection, rollout_ids: Sequence[str], answers: Answers, remembered: Remembered
) -> list[Judged]:
    """In the caller's transaction; what has ended meanwhile is left out."""
    evidence_store.lock_evidence(connection, rollout_ids)
    rollouts = [rollout for rollout in store.lock_rollouts(connection, rollout_ids) if rollout.live]
    standings = evidence_store.standings(connection, rollout_ids)
    ended, current = [], []
    for rollout in rollouts:
        standing = standings[rollout.rollout_id]
        if standing.canary_status is ModelStatus.CANARY:
            current.append(_brought_up_to_date(connection, rollout, standing))
        else:
            why = f"the canary's version is {standing.canary_status} in the registry"
            ended.append(
                Judged(transitions.stop(connection, rollout, actor=transitions.CONTROLLER, reason=why), None, None)
            )
    spans = [_unsealed(rollout, standings[rollout.rollout_id]) for rollout in current]
    sealed = evidence_store.buckets(connection, spans)
    judgements, actions = [], []
    for rollout, span in zip(current, spans, strict=True):
        standing = standings[rollout.rollout_id]
        state = absorb_sealed(_state(rollout, remembered), sealed[rollout.rollout_id], rollout, span.through)
        inputs = _inputs(rollout, standing, answers)
        verdict = judge(state, rollout.policy(), inputs)
        action = next_action(rollout.place(), verdict, standing.now)
        judgements.append(Judgement(rollout, span, state, inputs, verdict, ACTION_NAMES[type(action)]))
        actions.append(action)
    evidence_store.store_judgements(connection, judgements, remembered)
    return ended + [
        Judged(apply(connection, judgement.rollout, judgement.verdict, action), judgement.verdict, action)
        for judgement, action in zip(judgements, actions, strict=True)
    ]


def _brought_up_to_date(connection: Connection, rollout: StoredRollout, standing: Standing) -> StoredRollout:
    """What happened around the rollout since it was last judged."""
    if standing.production_now and standing.production_now != rollout.production_model_id:
        rollout = transitions.follow_production(connection, rollout, standing.production_now)
    unjudged_seconds = standing.now - rollout.sealed_through.timestamp()
    if unjudged_seconds > UNJUDGED_SECONDS:
        rollout = transitions.begin_again(connection, rollout, unjudged_seconds=unjudged_seconds)
    return _with_dispersion(connection, rollout, standing.now)


def _unsealed(rollout: StoredRollout, standing: Standing) -> Span:
    """What is not absorbed yet: also production's time before, until a first bucket has been."""
    sealed = rollout.sealed_through.timestamp()
    first = sealed if rollout.judge_state else sealed - BEFORE_SECONDS
    return Span(rollout.rollout_id, first, max(sealed, sealed_before(standing.now)))


def _state(rollout: StoredRollout, remembered: Remembered) -> JudgeState | None:
    return remembered.decode(rollout.rollout_id, rollout.judge_state) if rollout.judge_state else None


def absorb_sealed(
    state: JudgeState | None, sealed: Iterable[PhasedBucket], rollout: StoredRollout, through: float
) -> JudgeState | None:
    """The state at `through` (epoch seconds), in the rollout's phase even if nothing was answered in it yet."""
    for found in sealed:
        state = absorb(state, found.bucket, rollout.policy(found.percent))
    if state and state.phase.number < rollout.phase:
        # What the phase before has earned must not carry this one.
        state = begin_phase(state, rollout.phase, int(through), rollout.policy().percent)
    return state


def apply(connection: Connection, rollout: StoredRollout, verdict: Verdict, action: Action) -> StoredRollout:
    reason = "; ".join(verdict.reasons)
    match action:
        case Advance(to_step=step):
            return transitions.go_to_step(connection, rollout, step, actor=transitions.CONTROLLER, reason=reason)
        case Promote():
            return transitions.promote(connection, rollout, actor=transitions.CONTROLLER, reason=reason)
        case RollBack():
            return transitions.roll_back(connection, rollout, verdict)
        case Continue() | Hold():
            return rollout


def _inputs(rollout: StoredRollout, standing: Standing, answers: Answers) -> Inputs:
    return Inputs(
        now=standing.now,
        bake_over=bake_over(rollout.place(), standing.now),
        critical_alerts=answers.alerts_about(rollout.product),
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
