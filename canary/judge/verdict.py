"""The verdict on a rollout: every measurement, and what follows. The first match wins."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from canary.judge.decision_rules import check_decisions
from canary.judge.error_and_latency_rules import check_by_threshold, check_sequentially
from canary.judge.measurement import Measurement, RuleOutcome
from canary.judge.safety_rules import NO_EVIDENCE, JudgeInputs, check_fuse, check_safety
from canary.judge.sample_ratio import check_sample_ratio
from canary.judge.state import JudgeState
from canary.limits import Policy

VerdictKind = Literal["continue", "hold", "advance", "rollback"]


class Verdict(msgspec.Struct, frozen=True):
    """through: end of the last judged bucket, epoch seconds, 0 before the first; reasons: what decided the verdict."""

    kind: VerdictKind
    reasons: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    through: int


def judge(state: JudgeState | None, policy: Policy, inputs: JudgeInputs) -> Verdict:
    """Return the verdict on everything absorbed so far. Pure: the same buckets and inputs give the same verdict.

    rollback: a rule asks for it. hold: needs review. advance: everything passes. continue: not enough evidence yet.
    """
    if state is None:
        return _verdict((check_fuse(inputs), NO_EVIDENCE), through=0)
    return _verdict(tuple(_measure(state, policy, inputs)), state.through)


def _measure(state: JudgeState, policy: Policy, inputs: JudgeInputs) -> Iterator[Measurement]:
    if policy.mode == "threshold":
        yield from check_by_threshold(state, policy)
    else:
        yield from check_sequentially(state, policy)
        yield from check_decisions(state, policy.limits, inputs.labels)
    if state.split and policy.limits.sample_ratio is not None:
        yield check_sample_ratio(state.split, policy.percent, policy.limits)
    yield from check_safety(state, policy, inputs)


def _verdict(measurements: tuple[Measurement, ...], through: int) -> Verdict:
    for kind in ("rollback", "hold"):
        reasons = _reasons(measurements, kind)
        if reasons:
            return Verdict(kind, reasons, measurements, through)
    missing = tuple(m.reason for m in measurements if m.outcome == "unknown" and m.required)
    if missing:
        return Verdict("continue", missing, measurements, through)
    return Verdict("advance", ("every measurement passes",), measurements, through)


def _reasons(measurements: tuple[Measurement, ...], outcome: RuleOutcome) -> tuple[str, ...]:
    return tuple(m.reason for m in measurements if m.outcome == outcome)
