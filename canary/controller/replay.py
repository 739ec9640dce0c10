"""Recompute stored verdicts from stored buckets, to prove that they follow from the counts."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from canary.controller import store as evidence_store
from canary.controller.store import Span
from canary.controller.tick import absorb_sealed
from canary.judge.measurement import Measurement
from canary.judge.safety_rules import JudgeInputs
from canary.judge.state import JudgeState
from canary.judge.verdict import Verdict, judge
from canary.rollout import store
from canary.rollout.store import StoredRollout
from canary.rollout.verdicts import StoredVerdict, verdicts
from runtime.postgres import Connection

# Sentences that a release has reworded: a stored verdict has the old one, and follows from the same counts.
REWORDED = {
    "so nobody knows whether a critical alert fires:": "so it is unknown whether a critical alert is firing:",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored verdict that does not follow from the stored buckets; `names`: what differs."""

    tick: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplayResult:
    verdicts: int
    differences: tuple[Difference, ...]


def replay(
    connection: Connection, rollout: StoredRollout, *, on_verdict: Callable[[int, int], None] = lambda done, of: None
) -> ReplayResult:
    """Recompute every stored verdict of a rollout. `on_verdict(done, of)` receives the progress.

    Verdicts that were deleted as repetitions had the phase and the dispersion of the one before them.
    """
    stored = verdicts(connection, rollout.rollout_id)
    percents = {phase.phase: phase.canary_percent for phase in store.phases(connection, rollout.rollout_id)}
    state: JudgeState | None = None
    differences: list[Difference] = []
    as_judged = rollout
    for index, verdict in enumerate(stored):
        if index:
            state = _absorb(connection, state, as_judged, stored[index - 1], until=verdict)
        percent = percents[verdict.phase]
        as_judged = replace(rollout, phase=verdict.phase, canary_percent=percent, dispersion=verdict.dispersion)
        state = _absorb(connection, state, as_judged, verdict)
        recomputed = judge(state, as_judged.policy(), msgspec.convert(verdict.inputs, JudgeInputs))
        if names := _differences(verdict, recomputed):
            differences.append(Difference(verdict.tick, names))
        on_verdict(index + 1, len(stored))
    return ReplayResult(len(stored), tuple(differences))


def _absorb(
    connection: Connection,
    state: JudgeState | None,
    as_judged: StoredRollout,
    verdict: StoredVerdict,
    until: StoredVerdict | None = None,
) -> JudgeState | None:
    """Absorb the verdict's own buckets, or those between it and `until`, with the rollout as it was when judged."""
    first = (verdict.evidence_through if until else verdict.evidence_from).timestamp()
    through = (until.evidence_from if until else verdict.evidence_through).timestamp()
    sealed = evidence_store.buckets(connection, [Span(as_judged.rollout_id, first, through)])
    return absorb_sealed(state, sealed[as_judged.rollout_id], as_judged, through)


def _differences(stored: StoredVerdict, recomputed: Verdict) -> tuple[str, ...]:
    names = [] if stored.verdict == recomputed.kind else ["verdict"]
    names += [] if tuple(map(_as_worded_now, stored.reasons)) == recomputed.reasons else ["reasons"]
    before = {m.name: msgspec.structs.replace(m, reason=_as_worded_now(m.reason)) for m in stored.measurements}
    after = {m.name: _as_stored(m, before.get(m.name)) for m in recomputed.measurements}
    names += sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return tuple(names)


def _as_stored(recomputed: Measurement, stored: Measurement | None) -> Measurement:
    """Leave out the groups of fields that the stored measurement has not: an earlier release stored neither.

    A rollout that it began has no confidence sequence of its errors and latency until it ends.
    """
    for group in (("tested", "samples"), ("low", "high")):
        if stored and all(getattr(stored, name) is None for name in group):
            recomputed = msgspec.structs.replace(recomputed, **dict.fromkeys(group))
    return recomputed


def _as_worded_now(reason: str) -> str:
    for before, after in REWORDED.items():
        reason = reason.replace(before, after)
    return reason
