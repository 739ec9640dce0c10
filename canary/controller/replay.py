"""Recompute stored verdicts from stored buckets, to prove that they follow from the counts."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from canary.controller import store as evidence_store
from canary.controller.store import Span
from canary.controller.tick import absorb_sealed
from canary.judge.safety_rules import JudgeInputs
from canary.judge.state import JudgeState
from canary.judge.verdict import Verdict, judge
from canary.rollout import store
from canary.rollout.store import StoredRollout, StoredVerdict
from runtime.postgres import Connection


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored verdict that does not follow from the stored buckets; `names` says what differs."""

    tick: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    verdicts: int
    differences: tuple[Difference, ...]


def replay(
    connection: Connection, rollout: StoredRollout, *, on_verdict: Callable[[int, int], None] = lambda done, of: None
) -> Replayed:
    """Recompute every stored verdict of a rollout. `on_verdict(done, of)` receives the progress.

    Verdicts that were thinned out had the phase and the dispersion of the one before them.
    """
    stored = store.verdicts(connection, rollout.rollout_id)
    percents = {phase.phase: phase.canary_percent for phase in store.phases(connection, rollout.rollout_id)}
    state: JudgeState | None = None
    differences: list[Difference] = []
    then = rollout
    for place, verdict in enumerate(stored):
        if place:
            state = _absorb(connection, state, then, stored[place - 1], until=verdict)
        percent = percents[verdict.phase]
        then = replace(rollout, phase=verdict.phase, canary_percent=percent, dispersion=verdict.dispersion)
        state = _absorb(connection, state, then, verdict)
        again = judge(state, then.policy(), msgspec.convert(verdict.inputs, JudgeInputs))
        if names := _differences(verdict, again):
            differences.append(Difference(verdict.tick, names))
        on_verdict(place + 1, len(stored))
    return Replayed(len(stored), tuple(differences))


def _absorb(
    connection: Connection,
    state: JudgeState | None,
    then: StoredRollout,
    verdict: StoredVerdict,
    until: StoredVerdict | None = None,
) -> JudgeState | None:
    """Absorb the verdict's own buckets, or those between it and `until`, with the rollout as it was then."""
    first = (verdict.evidence_through if until else verdict.evidence_from).timestamp()
    through = (until.evidence_from if until else verdict.evidence_through).timestamp()
    sealed = evidence_store.buckets(connection, [Span(then.rollout_id, first, through)])
    return absorb_sealed(state, sealed[then.rollout_id], then, through)


def _differences(stored: StoredVerdict, again: Verdict) -> tuple[str, ...]:
    names = [] if stored.verdict == again.kind else ["verdict"]
    names += [] if stored.reasons == again.reasons else ["reasons"]
    then, now = ({m.name: m for m in measurements} for measurements in (stored.measurements, again.measurements))
    names += sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    return tuple(names)
