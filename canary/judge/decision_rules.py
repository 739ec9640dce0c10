"""The rules of paired decisions: blocks, flips, score shift, and false positives from labels."""

from collections.abc import Iterator

import msgspec

from canary.judge.confidence import paired_lower_bound
from canary.judge.drift import population_stability_index
from canary.judge.evidence import Paired
from canary.judge.measurement import Measurement, RuleOutcome, e_value, evidence_text
from canary.judge.sequential import paired_log_evidence, paired_relative_change
from canary.judge.state import JudgeState
from canary.limits import Limits


class LabelCounts(msgspec.Struct, frozen=True):
    """Events that both models scored: all, the matured ones, and the legitimate ones among those.

    `known_frauds`: of all ages, by who blocked or reviewed them; None before migration 006.
    """

    events: int
    matured: int
    legitimate: Paired
    known_frauds: Paired | None = None


def check_decisions(state: JudgeState, limits: Limits, labels: LabelCounts | None) -> Iterator[Measurement]:
    yield check_blocks(state, limits)
    yield check_flips(state, limits)
    yield check_score_shift(state, limits)
    yield check_false_positives(limits, labels)
    if limits.recall_ratio is not None:
        yield check_recall(limits.recall_ratio, limits, labels.known_frauds if labels else None)


def check_blocks(state: JudgeState, limits: Limits) -> Measurement:
    """Roll back when one model blocks more than `block_ratio` times as much as the other on the same events."""
    both, canary_only, production_only, neither = (int(n) for n in state.paired)
    total = both + canary_only + production_only + neither
    # Each direction has half of alpha.
    needed = 2.0 / limits.decision_alpha
    more = paired_log_evidence(canary_only, production_only, both, limits.block_ratio)
    fewer = paired_log_evidence(production_only, canary_only, both, limits.block_ratio)
    evidence = max(e_value(more), e_value(fewer))
    canary, production = both + canary_only, both + production_only
    ratio = canary / production if production else None
    enough: RuleOutcome = "pass" if total >= limits.paired_samples else "unknown"
    outcome = "rollback" if evidence >= needed else enough
    counts = f"of {total:,} events scored by both, the canary blocks {canary:,} and production {production:,}"
    reason = f"{counts}; {evidence_text(evidence, needed)}"
    tested = limits.block_ratio
    low = paired_lower_bound(
        canary_only, production_only, both, tested=tested, needed=needed, decided=e_value(more) >= needed
    )
    inverse = paired_lower_bound(
        production_only, canary_only, both, tested=tested, needed=needed, decided=e_value(fewer) >= needed
    )
    return Measurement(
        "block_ratio",
        outcome,
        reason,
        ratio,
        limits.block_ratio,
        "ratio",
        evidence,
        needed,
        low=low,
        high=1.0 / inverse if inverse else None,
        samples=total,
    )


def check_flips(state: JudgeState, limits: Limits) -> Measurement:
    both, canary_only, production_only, neither = (int(n) for n in state.phase.paired)
    total = both + canary_only + production_only + neither
    if total < limits.paired_samples:
        reason = f"{total:,} events scored by both, {limits.paired_samples:,} are needed"
        return Measurement("flip_rate", "unknown", reason, None, limits.flip_rate, "share")
    rate = (canary_only + production_only) / total
    outcome: RuleOutcome = "hold" if rate > limits.flip_rate else "pass"
    reason = f"the models disagree on blocking {rate:.2%} of {total:,} events, the limit is {limits.flip_rate:.2%}"
    return Measurement("flip_rate", outcome, reason, rate, limits.flip_rate, "share", samples=total)


def check_score_shift(state: JudgeState, limits: Limits) -> Measurement:
    """Hold, never roll back: a new model is meant to shift scores, and a person should review how far."""
    production, canary = (int(n) for n in state.phase.scores.sum(axis=-1))
    if min(production, canary) < limits.paired_samples:
        reason = f"{min(production, canary):,} scores in one arm, {limits.paired_samples:,} are needed"
        return Measurement("score_psi", "unknown", reason, None, limits.psi, "PSI")
    psi = population_stability_index(state.phase.scores)
    outcome: RuleOutcome = "hold" if psi > limits.psi else "pass"
    return Measurement(
        "score_psi",
        outcome,
        f"scores have shifted by PSI {psi:.3f}, the limit is {limits.psi:g}",
        psi,
        limits.psi,
        "PSI",
        samples=min(production, canary),
    )


def check_recall(ratio: float, limits: Limits, frauds: Paired | None) -> Measurement:
    """Roll back when production catches more than `ratio` times the known frauds that the canary catches.

    A fraud that becomes known early counts for both models, so a delay that does not depend on the model cancels.
    """
    needed = 1.0 / limits.recall_alpha
    if frauds is None or frauds.total == 0:
        reason = "not yet knowable: no fraud is known among the events that both models scored"
        return Measurement("recall_ratio", "unknown", reason, None, ratio, "ratio", required=False)
    canary, production = frauds.n11 + frauds.n10, frauds.n11 + frauds.n01
    evidence = e_value(paired_log_evidence(frauds.n01, frauds.n10, frauds.n11, ratio))
    value = production / canary if canary else None
    outcome: RuleOutcome = "pass"
    if evidence >= needed:
        outcome = "rollback"
    elif evidence >= limits.go_evidence:
        outcome = "hold"
    counts = f"of {frauds.total:,} known frauds the canary catches {canary:,} and production {production:,}"
    reason = f"{counts}; {evidence_text(evidence, needed)}"
    low = paired_lower_bound(
        frauds.n01, frauds.n10, frauds.n11, tested=ratio, needed=needed, decided=evidence >= needed
    )
    return Measurement(
        "recall_ratio",
        outcome,
        reason,
        value,
        ratio,
        "ratio",
        evidence,
        needed,
        required=False,
        low=low,
        samples=frauds.total,
    )


def check_false_positives(limits: Limits, labels: LabelCounts | None) -> Measurement:
    """Compare blocked legitimate events, among those that both models scored and whose labels have matured."""

    def measured(outcome: str, reason: str, change: float | None = None) -> Measurement:
        required = limits.labels_required or outcome != "unknown"
        tolerated = limits.false_positive_change
        return Measurement(
            "false_positives",
            outcome,  # type: ignore[arg-type]
            reason,
            change,
            tolerated,
            "relative",
            required=required,
            samples=None if change is None or labels is None else labels.legitimate.total,
        )

    if labels is None or labels.events == 0:
        return measured("unknown", "not yet knowable: there are no labels")
    share = labels.matured / labels.events
    if share < limits.matured_share:
        shortfall = f"{share:.0%} of the labels have matured, the plan asks for {limits.matured_share:.0%}"
        return measured("unknown", f"not yet knowable: {shortfall}")
    pairs, tolerated = labels.legitimate, limits.false_positive_change
    estimate = paired_relative_change(pairs.n10, pairs.n01, pairs.n11, pairs.total, tolerated)
    if estimate is None:
        return measured("unknown", "not yet knowable: production blocked no event known to be legitimate")
    figure = f"the canary blocks {estimate.change:+.1%} legitimate events (±{estimate.half_width:.1%})"
    if estimate.change - estimate.half_width > tolerated:
        return measured("hold", f"{figure}: more than the {tolerated:.0%} allowed", estimate.change)
    if estimate.half_width > tolerated:
        needed = f"about {estimate.needed:,} labelled legitimate events are needed, there are {pairs.total:,}"
        return measured("unknown", f"not yet knowable: {figure}; {needed}", estimate.change)
    if abs(estimate.change) > tolerated:
        return measured("hold", f"{figure}: outside the ±{tolerated:.0%} allowed", estimate.change)
    return measured("pass", f"{figure}, within ±{tolerated:.0%}", estimate.change)
