"""One tick: lease -> rollouts -> evidence -> judge -> next action -> store and apply.

All rollouts share one transaction: fifty transactions would take half a second. When it fails, each rollout is judged
in its own transaction, so that one that cannot be judged does not stop the others.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from canary.controller import store as evidence_store
from canary.controller.sources import Answers, Sources
from canary.controller.state_cache import StateCache
from canary.controller.store import Judgement, PhasedBucket, RolloutContext, Span
from canary.judge import sequential
from canary.judge.absorb import absorb
from canary.judge.evidence import HISTORY_SECONDS, sealed_before
from canary.judge.safety_rules import JudgeInputs
from canary.judge.state import JudgeState, begin_phase
from canary.judge.verdict import judge
from canary.rollout import store, transitions
from canary.rollout.change import by_controller
from canary.rollout.next_action import Advance, Continue, Hold, Promote, RollBack, bake_over, next_action
from canary.rollout.store import StoredRollout
from canary.split import UNJUDGED_SECONDS
from registry.model_version import Status as ModelStatus
from runtime.postgres import Connection

log = logging.getLogger("sira.canary.tick")

DISPERSION_AGE_SECONDS = 3600.0


def tick(
    connection: Connection, holder: str, sources: Sources, *, stale_seconds: float, cache: StateCache | None = None
) -> list[Judgement] | None:
    """Judge every live rollout; return None when another controller holds the lease.

    `connection` is in autocommit. Pass the same `cache` to every tick. The rollout of each judgement is as its action
    left it; a rollout that ended without being judged is not among them.
    """
    if not evidence_store.take_lease(connection, holder, stale_seconds=stale_seconds):
        return None
    live = store.live_metrics(connection)
    if not live:
        return []
    # Query outside the transaction: a slow answer must not hold locks.
    answers = sources.ask({metric.query for metrics in live.values() for metric in metrics})
    rollout_ids = list(live)
    cache = cache or StateCache()
    judgements = _try(connection, rollout_ids, answers, cache)
    if judgements is None and len(rollout_ids) > 1:
        alone = [_try(connection, [rollout_id], answers, cache) for rollout_id in rollout_ids]
        return [judgement for judged in alone for judgement in judged or ()]
    return judgements or []


def _try(
    connection: Connection, rollout_ids: Sequence[str], answers: Answers, cache: StateCache
) -> list[Judgement] | None:
    """Judge in one transaction; return None when it failed. Raises psycopg.Error when the connection is gone."""
    try:
        with connection.transaction():
            return judge_rollouts(connection, rollout_ids, answers, cache)
    except Exception:
        if connection.closed:
            raise
        log.exception("rollouts_not_judged", extra={"rollout_ids": rollout_ids})
        return None


def judge_rollouts(
    connection: Connection, rollout_ids: Sequence[str], answers: Answers, cache: StateCache
) -> list[Judgement]:
    """Judge in the caller's transaction and apply the actions; leave out rollouts that have ended meanwhile."""
    evidence_store.lock_evidence(connection, rollout_ids)
    contexts = evidence_store.contexts(connection, rollout_ids)
    live = [rollout for rollout in store.lock_rollouts(connection, rollout_ids) if rollout.live]
    current = _up_to_date(connection, live, contexts)
    spans = [_unsealed(rollout, contexts[rollout.rollout_id]) for rollout in current]
    sealed = evidence_store.buckets(connection, spans)
    judgements = [
        _judge(rollout, span, sealed[rollout.rollout_id], contexts[rollout.rollout_id], answers, cache)
        for rollout, span in zip(current, spans, strict=True)
    ]
    evidence_store.store_judgements(connection, judgements)
    return [replace(judgement, rollout=_apply(connection, judgement)) for judgement in judgements]


def _up_to_date(
    connection: Connection, live: Iterable[StoredRollout], contexts: dict[str, RolloutContext]
) -> list[StoredRollout]:
    """Apply changes around each rollout since its last verdict; stop those whose version is no longer canary."""
    current = []
    for rollout in live:
        context = contexts[rollout.rollout_id]
        if context.canary_status is not ModelStatus.CANARY:
            change = by_controller(f"the canary's version is {context.canary_status} in the registry")
            transitions.stop(connection, rollout, change)
            continue
        if context.production_now and context.production_now != rollout.production_model_id:
            rollout = transitions.follow_production(connection, rollout, context.production_now)
        unjudged_seconds = context.now - rollout.sealed_through.timestamp()
        if unjudged_seconds > UNJUDGED_SECONDS:
            rollout = transitions.restart_step(connection, rollout, unjudged_seconds=unjudged_seconds)
        current.append(_with_dispersion(connection, rollout, context.now))
    return current


def _unsealed(rollout: StoredRollout, context: RolloutContext) -> Span:
    """Return the span of evidence that is not absorbed yet; the first one includes production's history."""
    sealed = rollout.sealed_through.timestamp()
    first = sealed if rollout.judge_state else sealed - HISTORY_SECONDS
    return Span(rollout.rollout_id, first, max(sealed, sealed_before(context.now)))


def _judge(
    rollout: StoredRollout,
    span: Span,
    sealed: Iterable[PhasedBucket],
    context: RolloutContext,
    answers: Answers,
    cache: StateCache,
) -> Judgement:
    stored = rollout.judge_state
    state = cache.decode(rollout.rollout_id, stored) if stored else None
    state = absorb_sealed(state, sealed, rollout, span.through)
    inputs = _inputs(rollout, context, answers)
    verdict = judge(state, rollout.policy(), inputs)
    action = next_action(rollout.position(), verdict, context.now)
    encoded = cache.encode(rollout.rollout_id, state) if state else None
    return Judgement(rollout, span, encoded, inputs, verdict, action)


def absorb_sealed(
    state: JudgeState | None, sealed: Iterable[PhasedBucket], rollout: StoredRollout, through: float
) -> JudgeState | None:
    """Return the state at `through` (epoch seconds), in the rollout's phase even before its first answer."""
    for phased in sealed:
        state = absorb(state, phased.bucket, rollout.policy(phased.percent))
    if state and state.phase.number < rollout.phase:
        # Evidence of the phase before must not count for this one.
        state = begin_phase(state, rollout.phase, int(through), rollout.policy().percent)
    return state


def _apply(connection: Connection, judgement: Judgement) -> StoredRollout:
    rollout, verdict = judgement.rollout, judgement.verdict
    change = by_controller("; ".join(verdict.reasons))
    match judgement.action:
        case Advance(to_step=step):
            return transitions.go_to_step(connection, rollout, step, change)
        case Promote():
            return transitions.finish(connection, rollout, change)
        case RollBack():
            return transitions.roll_back(connection, rollout, verdict)
        case Continue() | Hold():
            return rollout


def _inputs(rollout: StoredRollout, context: RolloutContext, answers: Answers) -> JudgeInputs:
    return JudgeInputs(
        now=context.now,
        bake_over=bake_over(rollout.position(), context.now),
        critical_alerts=answers.alerts_about(rollout.product),
        metrics={metric.name: answers.values.get(metric.query) for metric in rollout.limits.metrics},
        labels=context.labels,
        fuse_trips=context.fuse_trips,
    )


def _with_dispersion(connection: Connection, rollout: StoredRollout, now: float) -> StoredRollout:
    """Estimate production's dispersion over the last day once per hour: reading a day of rows takes long."""
    if rollout.dispersion_at and now - rollout.dispersion_at.timestamp() < DISPERSION_AGE_SECONDS:
        return rollout
    cells = evidence_store.production_error_cells(connection, rollout.product, now)
    dispersion = sequential.dispersion(cells)
    store.set_dispersion(connection, rollout.rollout_id, dispersion)
    return replace(rollout, dispersion=dispersion)
