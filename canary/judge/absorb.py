"""Add one sealed bucket to the judge's state."""

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from canary.judge import confidence, sequential
from canary.judge.evidence import BUCKET_SECONDS, LAST_LATENCY_BIN, Bucket, latency_bin
from canary.judge.latency import BLOCK_SECONDS, P95, Counts, add_latency, count_above, counts_above, quantile_bin
from canary.judge.observation import Observation, observe
from canary.judge.sample_ratio import add_requests
from canary.judge.sequential import CANARY, PRODUCTION, FloatArray, IntArray
from canary.judge.state import (
    ERROR_ALTERNATIVES,
    ERROR_FAMILY,
    GO_ALTERNATIVES,
    LATENCY_ALTERNATIVES,
    LATENCY_FAMILY,
    JudgeState,
    begin_phase,
    new_state,
    restart,
)
from canary.limits import Policy

RESTART_SECONDS = 300
# With state.PHASE_WEIGHT of each of five phases, the weights of a test sum to at most 1.
RESTARTS_WEIGHT = 0.5


def absorb(state: JudgeState | None, bucket: Bucket, policy: Policy) -> JudgeState:
    """Return the state after one more sealed bucket. Buckets must come in order of (start, phase)."""
    return absorb_observation(state, observe(bucket), policy)


def absorb_observation(state: JudgeState | None, observation: Observation, policy: Policy) -> JudgeState:
    """Like `absorb`, for any number of rollouts side by side."""
    if state is None:
        state = new_state(observation.requests.shape[:-1], observation.start, policy.limits)
    if observation.phase > state.phase.number:
        state = begin_phase(state, observation.phase, observation.start, policy.percent)
    restarts = (observation.start - state.started) // RESTART_SECONDS + 1
    if restarts > state.restarts:
        weight = RESTARTS_WEIGHT / (restarts * (restarts + 1))
        state = msgspec.structs.replace(restart(state, weight, observation.start), restarts=restarts)
    state = _add_errors(state, observation, policy)
    state = _add_latency(state, observation, policy)
    state = _add_decisions(state, observation)
    state = _add_split(state, observation, policy)
    return _add_silence(state, observation, policy)


def without_control(policy: Policy) -> bool:
    """Return whether production gets no traffic: the canary is then judged against earlier production."""
    return policy.percent >= 100.0


def _add_errors(state: JudgeState, observation: Observation, policy: Policy) -> JudgeState:
    limits, eta = policy.limits, _eta(policy)
    counts = (observation.errors, observation.requests)
    rate = None
    if without_control(policy):
        rate = sequential.rate_upper_bound(state.production_errors, state.production_requests)
    ratio = _log_ratio(*counts, rate, ERROR_ALTERNATIVES, limits.error_ratio_allowed, eta)
    negligible = np.asarray(limits.error_rate_negligible)
    phase = msgspec.structs.replace(
        state.phase,
        errors=state.phase.errors + observation.errors,
        requests=state.phase.requests + observation.requests,
        error_go=state.phase.error_go + _log_ratio(*counts, rate, GO_ALTERNATIVES, limits.error_ratio, eta),
        negligible_go=state.phase.negligible_go + _log_ratio(*counts, negligible, GO_ALTERNATIVES, rho=1.0, eta=eta),
    )
    return msgspec.structs.replace(
        state,
        phase=phase,
        errors=sequential.add_bucket(state.errors, ratio, *counts),
        error_ratios=_add_error_ratios(state.error_ratios, observation, rate, policy),
        production_errors=state.production_errors + observation.errors[..., PRODUCTION],
        production_requests=state.production_requests + observation.requests[..., PRODUCTION],
    )


def _add_latency(state: JudgeState, observation: Observation, policy: Policy) -> JudgeState:
    canary = observation.latency[..., CANARY, :]
    edges, slow, timed = _slow_and_timed(state, observation, policy)
    counts = (slow[..., confidence.TESTED_LATENCY_RATIO, :], timed)
    rate = None
    if without_control(policy):
        earlier = state.production_latency
        earlier_slow = count_above(earlier, quantile_bin(earlier, P95))
        rate = sequential.rate_upper_bound(earlier_slow.astype(np.float64), earlier.sum(axis=-1).astype(np.float64))
    ratio = _log_ratio(*counts, rate, LATENCY_ALTERNATIVES, rho=1.0, eta=1.0)
    negligible = np.full(canary.shape[:-1], latency_bin(policy.limits.p95_negligible_seconds))
    above = count_above(canary, negligible).astype(np.float64)
    phase = msgspec.structs.replace(
        state.phase,
        slow=state.phase.slow + counts[0],
        timed=state.phase.timed + counts[1],
        latency_go=state.phase.latency_go + _log_ratio(*counts, rate, GO_ALTERNATIVES, rho=1.0, eta=1.0),
        fast_go=state.phase.fast_go
        + sequential.log_likelihood_ratio_to_rate(
            above, canary.sum(axis=-1).astype(np.float64), np.asarray(1.0 - P95), GO_ALTERNATIVES
        ),
    )
    return msgspec.structs.replace(
        state,
        phase=phase,
        latency=sequential.add_bucket(state.latency, ratio, *counts),
        latency_ratios=_add_latency_ratios(state.latency_ratios, edges, slow, timed, rate),
        window=add_latency(state.window, minute_of(state, observation.start), observation.latency),
        production_latency=state.production_latency + observation.latency[..., PRODUCTION, :],
    )


def _slow_and_timed(
    state: JudgeState, observation: Observation, policy: Policy
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return edges (..., G) in bins, requests (..., G, 2) that are slow by each, and all timed requests (..., 2).

    A request of production is slow above its p95, one of the canary above each ratio of the grid to that p95. The p95
    is that of the ten minutes before this bucket, or of the whole rollout when production gets no traffic: it must not
    depend on the bucket, or the test is not valid.
    """
    reference = _reference_latency(state, policy)
    p95_bin = quantile_bin(reference, P95)[..., None]
    edges = p95_bin + confidence.latency_ratios(policy.limits)[0]
    enough = np.asarray(reference.sum(axis=-1) >= policy.limits.latency_samples)[..., None]
    slow = np.zeros((*edges.shape, 2))
    for arm, above in ((PRODUCTION, p95_bin), (CANARY, np.maximum(edges, 0))):
        slow[..., arm] = np.where(enough, counts_above(observation.latency[..., arm, :], above), 0)
    return edges, slow, np.where(enough, observation.latency.sum(axis=-1), 0).astype(np.float64)


def _reference_latency(state: JudgeState, policy: Policy) -> Counts:
    return state.production_latency if without_control(policy) else state.window.total[..., PRODUCTION, :]


def _add_error_ratios(
    log_wealth: FloatArray | None, observation: Observation, rate: FloatArray | None, policy: Policy
) -> FloatArray | None:
    """Add a bucket to the tests at each ratio of the grid: an axis of ratios before the arms and the alternatives."""
    if log_wealth is None:
        return None
    ratios, eta = confidence.error_ratios(policy.limits), _eta(policy)[..., None]
    counts = (observation.errors[..., None, :], observation.requests[..., None, :])
    return log_wealth + _log_ratio(*counts, None if rate is None else rate[..., None], ERROR_FAMILY, ratios, eta)


def _add_latency_ratios(
    log_wealth: FloatArray | None, edges: IntArray, slow: FloatArray, timed: FloatArray, rate: FloatArray | None
) -> FloatArray | None:
    if log_wealth is None:
        return None
    rate = None if rate is None else rate[..., None]
    ratio = _log_ratio(slow, timed[..., None, :], rate, LATENCY_FAMILY, rho=1.0, eta=1.0)
    unknown = (edges < 0) | (edges >= LAST_LATENCY_BIN)  # a histogram cannot tell what lies beyond its ends
    return log_wealth + (np.where(unknown[..., None], 0.0, ratio) if unknown.any() else ratio)


def _eta(policy: Policy) -> FloatArray:
    """Return eta = 1/phi with an axis for the alternatives: in burstier traffic, each error counts less."""
    return 1.0 / np.asarray(1.0 if policy.dispersion is None else policy.dispersion)[..., None]


def minute_of(state: JudgeState, at: int) -> int:
    """Return the number of the latency window's minute that holds `at`; restarts begin on its boundaries."""
    return (at - state.started) // BLOCK_SECONDS


def _log_ratio(
    events: FloatArray,
    requests: FloatArray,
    rate: FloatArray | None,
    alternatives: FloatArray,
    rho: float | FloatArray,
    eta: ArrayLike,
) -> FloatArray:
    """Return the log likelihood ratio against the control arm, or against `rate` when there is no control arm."""
    if rate is None:
        return sequential.log_likelihood_ratio(events, requests, alternatives, rho, eta)
    canary_events, canary_requests = events[..., CANARY], requests[..., CANARY]
    return sequential.log_likelihood_ratio_to_rate(canary_events, canary_requests, rho * rate, alternatives, eta)


def _add_decisions(state: JudgeState, observation: Observation) -> JudgeState:
    phase = msgspec.structs.replace(
        state.phase, scores=state.phase.scores + observation.scores, paired=state.phase.paired + observation.paired
    )
    return msgspec.structs.replace(state, phase=phase, paired=state.paired + observation.paired)


def _add_split(state: JudgeState, observation: Observation, policy: Policy) -> JudgeState:
    if state.split is None:
        return state
    split = add_requests(state.split, observation.start, observation.requests, policy.percent, policy.limits)
    return msgspec.structs.replace(state, split=split)


def _add_silence(state: JudgeState, observation: Observation, policy: Policy) -> JudgeState:
    answered = observation.requests[..., CANARY] > 0.0
    expected = observation.requests.sum(axis=-1) * policy.percent / 100.0
    silence_begins = answered | (state.unanswered == 0.0)
    return msgspec.structs.replace(
        state,
        through=max(state.through, observation.start + BUCKET_SECONDS),
        unanswered=np.where(answered, 0.0, state.unanswered + expected),
        silent_since=np.where(silence_begins, float(observation.start), state.silent_since),
    )
