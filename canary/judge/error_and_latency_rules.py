"""The rules of error ratio and p95 latency: each returns one measurement of the judge's state."""

from collections.abc import Iterator
from math import inf, isinf

from msgspec import structs

from canary.judge import confidence, sequential
from canary.judge.absorb import minute_of, without_control
from canary.judge.evidence import BINS_PER_LIMIT, LIMIT_RATIO, latency_edge
from canary.judge.latency import P95, LatencyArray, latency_since, quantile_bin
from canary.judge.measurement import Measurement, RuleOutcome, e_value, evidence_text
from canary.judge.sequential import CANARY, PRODUCTION, FloatArray
from canary.judge.state import JudgeState
from canary.limits import Limits, Policy


def check_sequentially(state: JudgeState, policy: Policy) -> Iterator[Measurement]:
    """Check the rules whose error probability holds at any number of ticks, and what a step needs to advance."""
    yield check_errors(state, policy)
    yield check_p95(state, policy)
    yield check_control(state, policy)
    yield check_error_go(state, policy)
    yield check_p95_go(state, policy)


def check_by_threshold(state: JudgeState, policy: Policy) -> Iterator[Measurement]:
    """Check the runbook's plain ratios over the phase (mode "threshold"), once there are enough requests."""
    limits = policy.limits
    yield check_control(state, policy)
    if policy.percent == 0.0:
        return  # the canary answers no requests, so there is no ratio
    ratio = _error_ratio(state, policy, state.phase.errors, state.phase.requests)
    samples = float(state.phase.requests[CANARY])
    yield _threshold_measurement("error_ratio", ratio, limits.error_ratio, samples, limits)
    p95_ratio, timed, _ = _p95_ratio(state, policy, state.window.total)
    yield _threshold_measurement("p95_ratio", p95_ratio, limits.p95_ratio, timed, limits)


def check_errors(state: JudgeState, policy: Policy) -> Measurement:
    """Roll back on evidence of more than 1.2 times the errors when the ratio itself is above 1.5."""
    limits = policy.limits
    window = sequential.evidence_window(state.errors)
    ratio = _error_ratio(state, policy, window.events, window.requests)
    evidence, needed = e_value(sequential.log_evidence(state.errors.log_wealth)), 1.0 / limits.error_alpha
    outcome: RuleOutcome = "pass"
    if evidence >= needed and ratio is not None and ratio > limits.error_ratio:
        outcome = "rollback"
    elif evidence >= limits.go_evidence:
        outcome = "hold"
    counts = ", ".join(
        f"{name} {window.events[arm]:,.0f} of {window.requests[arm]:,.0f}"
        for name, arm in (("canary", CANARY), ("production", PRODUCTION))
    )
    reason = f"errors: {counts}: {_ratio_text(ratio)}; {evidence_text(evidence, needed)}"
    low, tested = None, limits.error_ratio_allowed
    if state.error_ratios is not None:
        ratios = confidence.error_ratios(limits)
        low = confidence.lower_bound(state.error_ratios, ratios, needed, tested, evidence >= needed)
    found = _ratio_measurement("error_ratio", outcome, reason, ratio, limits.error_ratio, evidence, needed)
    return structs.replace(found, tested=tested, low=low, samples=int(window.requests[CANARY]))


def check_p95(state: JudgeState, policy: Policy) -> Measurement:
    """Roll back on evidence of more than 1.3 times the p95 when the ratio itself is above 1.3."""
    limits = policy.limits
    since = int(sequential.evidence_window(state.latency).since)
    ratio, samples, sentence = _p95_ratio(state, policy, latency_since(state.window, minute_of(state, since)))
    evidence, needed = e_value(sequential.log_evidence(state.latency.log_wealth)), 1.0 / limits.latency_alpha
    outcome: RuleOutcome = "pass"
    slow = ratio is not None and ratio > limits.p95_ratio and samples >= limits.latency_samples
    if evidence >= needed and slow:
        outcome = "rollback"
    elif evidence >= limits.go_evidence:
        outcome = "hold"
    reason = f"{sentence}; {evidence_text(evidence, needed)}"
    low, tested = None, limits.p95_ratio
    if state.latency_ratios is not None:
        _, ratios = confidence.latency_ratios(limits)
        low = confidence.lower_bound(state.latency_ratios, ratios, needed, tested, evidence >= needed)
    found = _ratio_measurement("p95_ratio", outcome, reason, ratio, tested, evidence, needed)
    return structs.replace(found, low=low, samples=int(samples))


def check_control(state: JudgeState, policy: Policy) -> Measurement:
    """Without a control arm, require enough earlier requests of production."""
    earlier = float(state.production_requests)
    needed = policy.limits.threshold_samples
    if not without_control(policy):
        return Measurement("control", "pass", "production answers beside the canary")
    if earlier < needed:
        reason = (
            f"at 100 % nothing is left to compare with, and production answered only {earlier:,.0f} requests before"
        )
        return Measurement("control", "hold", reason, earlier, needed, "requests")
    reason = f"at 100 % the canary is judged against production's {earlier:,.0f} requests before"
    return Measurement("control", "pass", reason, earlier, needed, "requests")


def check_error_go(state: JudgeState, policy: Policy) -> Measurement:
    """Require evidence that errors are less than 1.5 times production's, or so rare that the ratio does not matter."""
    limits, phase = policy.limits, state.phase
    if policy.percent == 0.0:
        return Measurement("error_go", "pass", "at 0 % the canary answers nobody: its errors are not judged")
    ratio = _error_ratio(state, policy, phase.errors, phase.requests)
    evidence, needed = e_value(sequential.log_evidence(phase.error_go)), limits.go_evidence
    negligible = e_value(sequential.log_evidence(phase.negligible_go))
    shown = evidence >= needed
    high, tested = None, limits.error_ratio
    if state.error_ratios is not None:
        high = confidence.upper_bound(state.error_ratios, confidence.error_ratios(limits), needed, tested, shown)
    outcome: RuleOutcome = "unknown"
    reason = f"errors are not yet shown to be under {limits.error_ratio:g} times production's: {_ratio_text(ratio)}"
    if shown and (ratio is None or ratio < limits.error_ratio_allowed):
        outcome, reason = "pass", f"errors are under {limits.error_ratio:g} times production's: {_ratio_text(ratio)}"
    elif negligible >= needed:
        outcome, evidence = "pass", negligible
        reason = f"the canary's error rate is below {limits.error_rate_negligible:.2%}, whatever production's is"
    elif shown:
        outcome = "hold"
        allowed = f"more than the {limits.error_ratio_allowed:g} allowed, too few to roll back"
        reason = f"errors are {_ratio_text(ratio)}: {allowed}"
    found = _ratio_measurement("error_go", outcome, reason, ratio, limits.error_ratio_allowed, evidence, needed)
    return structs.replace(found, tested=tested, high=high, samples=int(phase.requests[CANARY]))


def check_p95_go(state: JudgeState, policy: Policy) -> Measurement:
    """Require evidence that the p95 is less than 1.3 times production's, or so low that the ratio does not matter."""
    limits, phase = policy.limits, state.phase
    if policy.percent == 0.0:
        return Measurement("p95_go", "pass", "at 0 % the canary answers nobody: its latency is not judged")
    evidence, needed = e_value(sequential.log_evidence(phase.latency_go)), limits.go_evidence
    fast = e_value(sequential.log_evidence(phase.fast_go))
    shown = evidence >= needed
    outcome: RuleOutcome = "pass" if shown else "unknown"
    verb = "is" if shown else "is not yet shown to be"
    reason = f"p95 {verb} under {limits.p95_ratio:g} times production's"
    high, tested = None, limits.p95_ratio
    if state.latency_ratios is not None:
        _, ratios = confidence.latency_ratios(limits)
        high = confidence.upper_bound(state.latency_ratios, ratios, needed, tested, shown)
    if fast >= needed and not shown:
        outcome, evidence = "pass", fast
        reason = f"the canary's p95 is below {limits.p95_negligible_seconds * 1e3:g} ms"
    found = _ratio_measurement("p95_go", outcome, reason, None, tested, evidence, needed)
    return structs.replace(found, high=high, samples=int(phase.timed[CANARY]))


def _error_ratio(state: JudgeState, policy: Policy, errors: FloatArray, requests: FloatArray) -> float | None:
    """Return the canary's error rate over production's: infinite if only the canary fails, None without data."""
    if without_control(policy):
        production = float(sequential.rate_upper_bound(state.production_errors, state.production_requests))
    else:
        production = float(errors[PRODUCTION] / max(requests[PRODUCTION], 1.0))
    canary = float(errors[CANARY] / max(requests[CANARY], 1.0))
    if requests[CANARY] == 0.0 or (canary == 0.0 and production == 0.0):
        return None
    return canary / production if production > 0.0 else inf


def _p95_ratio(state: JudgeState, policy: Policy, latency: LatencyArray) -> tuple[float | None, float, str]:
    """Return the canary's p95 over production's, the number of canary samples, and a sentence."""
    production = state.production_latency if without_control(policy) else latency[PRODUCTION]
    canary = latency[CANARY]
    samples = float(canary.sum())
    if samples == 0.0 or production.sum() == 0:
        return None, samples, "p95: nothing to compare"
    slow, usual = int(quantile_bin(canary, P95)), int(quantile_bin(production, P95))
    ratio = float(LIMIT_RATIO ** ((slow - usual) / BINS_PER_LIMIT))
    edges = f"canary {latency_edge(slow) * 1e3:.1f} ms, production {latency_edge(usual) * 1e3:.1f} ms"
    return ratio, samples, f"p95: {edges}: {_ratio_text(ratio)} on {samples:,.0f} canary samples"


def _threshold_measurement(name: str, ratio: float | None, limit: float, samples: float, limits: Limits) -> Measurement:
    if samples < limits.threshold_samples:
        reason = f"{samples:,.0f} canary requests, {limits.threshold_samples:,} are needed before a ratio is read"
        return Measurement(name, "unknown", reason, None, limit, "ratio")
    over = ratio is not None and ratio > limit
    return _ratio_measurement(
        name, "rollback" if over else "pass", f"{_ratio_text(ratio)}, the limit is {limit:g}", ratio, limit
    )


def _ratio_measurement(
    name: str,
    outcome: RuleOutcome,
    reason: str,
    ratio: float | None,
    limit: float,
    evidence: float | None = None,
    needed: float | None = None,
) -> Measurement:
    """Return a ratio with its evidence. JSON has no infinity, so only the reason mentions a ratio to zero."""
    value = None if ratio is None or isinf(ratio) else ratio
    return Measurement(name, outcome, reason, value, limit, "ratio", evidence, needed)


def _ratio_text(ratio: float | None) -> str:
    if ratio is None:
        return "no ratio to form"
    return "production has none" if isinf(ratio) else f"{ratio:.2f} times production's"
