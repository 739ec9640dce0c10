"""Many simulated rollouts through the judge: when each is rolled back, and when its next step may begin."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from canary.judge.absorb import absorb_observation
from canary.judge.evidence import BUCKET_SECONDS, HISTORY_PHASE
from canary.judge.safety_rules import JudgeInputs
from canary.judge.sequential import CANARY, PRODUCTION, FloatArray, log_evidence, paired_log_evidence
from canary.judge.state import JudgeState
from canary.judge.verdict import Verdict, judge
from canary.limits import DEFAULT_LIMITS, Policy
from lab.benchmarks.canary.traffic import CANARY_PERCENT, Traffic, estimate_dispersion, observe_traffic

_BATCH = 100

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Simulation:
    """Per replica, NaN if it never happened; seconds count to the end of the bucket that decided."""

    rollback_seconds: FloatArray
    rollback_requests: FloatArray  # canary requests until then
    go_seconds: FloatArray  # enough evidence for the next step, its bake time aside

    @property
    def rolled_back(self) -> int:
        return int(np.isfinite(self.rollback_seconds).sum())

    @property
    def let_go(self) -> int:
        return int(np.isfinite(self.go_seconds).sum())


def simulate(traffic: Traffic, replicas: int, seconds: int, seed: int, progress: Progress) -> Simulation:
    """Run until every replica has been rolled back, or for `seconds` of simulated time."""
    sizes = [min(_BATCH, replicas - first) for first in range(0, replicas, _BATCH)]
    batches = []
    for number, size in enumerate(sizes):
        rng = np.random.default_rng([seed, number])
        batches.append(_run_batch(traffic, size, seconds, rng, _part(progress, number, len(sizes))))
    return Simulation(
        rollback_seconds=np.concatenate([batch.rollback_seconds for batch in batches]),
        rollback_requests=np.concatenate([batch.rollback_requests for batch in batches]),
        go_seconds=np.concatenate([batch.go_seconds for batch in batches]),
    )


def one_replica(state: Any, replica: int) -> Any:
    """Return the state of one replica without the replica axis, as the judge has it when serving."""
    if isinstance(state, np.ndarray):
        return state[replica]
    if isinstance(state, tuple):
        return tuple(one_replica(item, replica) for item in state)
    if isinstance(state, msgspec.Struct):
        return type(state)(*(one_replica(getattr(state, name), replica) for name in state.__struct_fields__))
    return state


def _run_batch(
    traffic: Traffic, replicas: int, seconds: int, rng: np.random.Generator, progress: Progress
) -> Simulation:
    phi: Any = estimate_dispersion(traffic, replicas, rng)
    policies = {
        phase: Policy(percent, dispersion=phi) for phase, percent in ((HISTORY_PHASE, 0.0), (0, CANARY_PERCENT))
    }
    simulation = Simulation(*(np.full(replicas, np.nan) for _ in range(3)))
    state: JudgeState | None = None
    for seen in observe_traffic(traffic, replicas, seconds // BUCKET_SECONDS, rng):
        state = absorb_observation(state, seen, policies[seen.phase])
        # Confidence sequences decide nothing here, and would double the time.
        state = msgspec.structs.replace(state, error_ratios=None, latency_ratios=None)
        if seen.start < 0:
            continue
        undecided = np.isnan(simulation.rollback_seconds)
        suspected = _may_roll_back(state)
        for replica in np.flatnonzero(undecided & (suspected | _may_go(state) & np.isnan(simulation.go_seconds))):
            _record(simulation, int(replica), one_replica(state, int(replica)), policies[seen.phase])
        progress(seen.start / seconds)
        if np.isfinite(simulation.rollback_seconds).all():
            break
    progress(1.0)
    return simulation


def _record(simulation: Simulation, replica: int, state: JudgeState, policy: Policy) -> None:
    verdict = judge(state, policy, JudgeInputs(now=state.through, bake_over=True, critical_alerts=()))
    if verdict.kind == "rollback":
        simulation.rollback_seconds[replica] = state.through
        simulation.rollback_requests[replica] = state.phase.requests[CANARY]
    elif _has_go(verdict) and np.isnan(simulation.go_seconds[replica]):
        simulation.go_seconds[replica] = state.through


def _has_go(verdict: Verdict) -> bool:
    return all(m.outcome == "pass" for m in verdict.measurements if m.name in ("error_go", "p95_go"))


def _may_roll_back(state: JudgeState) -> NDArray[np.bool_]:
    """Return where some evidence reaches its limit: elsewhere no rule rolls back, and the judge need not be called."""
    limits = DEFAULT_LIMITS
    both, canary_only, production_only, _ = np.moveaxis(state.paired, -1, 0)
    more = paired_log_evidence(canary_only, production_only, both, limits.block_ratio)
    fewer = paired_log_evidence(production_only, canary_only, both, limits.block_ratio)
    return np.asarray(
        (log_evidence(state.errors.log_wealth) >= -np.log(limits.error_alpha))
        | (log_evidence(state.latency.log_wealth) >= -np.log(limits.latency_alpha))
        | (np.maximum(more, fewer) >= np.log(2.0 / limits.decision_alpha))
    )


def _may_go(state: JudgeState) -> NDArray[np.bool_]:
    """Return where the next step could begin: elsewhere the judge need not be called."""
    needed = np.log(DEFAULT_LIMITS.go_evidence)
    rates = state.phase.errors / np.maximum(state.phase.requests, 1.0)
    close = rates[..., CANARY] < DEFAULT_LIMITS.error_ratio_allowed * rates[..., PRODUCTION]
    errors = close & (log_evidence(state.phase.error_go) >= needed)
    faster = log_evidence(state.phase.latency_go) >= needed
    return np.asarray((errors | (log_evidence(state.phase.negligible_go) >= needed)) & faster)


def _part(progress: Progress, number: int, of: int) -> Progress:
    return lambda share: progress((number + share) / of)
