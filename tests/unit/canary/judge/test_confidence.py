"""Confidence sequences, beside an inversion of each test that is written from its definition."""

import re
from collections.abc import Callable, Iterator
from math import exp, log, log1p
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from canary.judge import confidence
from canary.judge.absorb import RESTART_SECONDS, RESTARTS_WEIGHT, absorb, absorb_observation
from canary.judge.decision_rules import LabelCounts, check_blocks
from canary.judge.error_and_latency_rules import check_error_go, check_errors, check_p95, check_p95_go
from canary.judge.evidence import LATENCY_BINS, SCORE_BINS, ArmBucket, Bucket, Paired
from canary.judge.measurement import Measurement, interval_text
from canary.judge.measurement import confidence as confidence_of
from canary.judge.observation import Observation
from canary.judge.safety_rules import JudgeInputs
from canary.judge.sequential import reaches
from canary.judge.state import PHASE_WEIGHT, JudgeState, decode_state, encode_state
from canary.judge.verdict import judge
from canary.limits import DEFAULT_LIMITS, Limits, Policy

TEN = Policy(percent=10)
ROLLBACK, GO = (1.25, 1.6, 2.5, 5.0, 16.0, 64.0), (0.85, 0.7, 0.5, 0.25)
BETS = (0.02, 0.05, 0.12, 0.3, 0.6, 0.95)
MakeArm = Callable[..., ArmBucket]
Absorbed = Callable[..., JudgeState]


class Counts(NamedTuple):
    """Errors and requests of one bucket."""

    canary_errors: int
    canary: int
    production_errors: int
    production: int


COUNTS = st.builds(Counts, st.integers(0, 12), st.integers(20, 300), st.integers(0, 12), st.integers(100, 2000))
# Some with a canary that is clearly bad or clearly good, so that every outcome occurs.
HISTORIES = st.tuples(st.lists(COUNTS, min_size=1, max_size=6), st.integers(1, 40)).map(lambda pair: pair[0] * pair[1])


def judged(history: list[Counts], policy: Policy = TEN) -> JudgeState:
    state: JudgeState | None = None
    for number, counts in enumerate(history):
        production = ArmBucket(requests=counts.production, errors=min(counts.production_errors, counts.production))
        canary = ArmBucket(requests=counts.canary, errors=min(counts.canary_errors, counts.canary))
        state = absorb(state, Bucket(5 * number, 0, production, canary), policy)
    assert state is not None
    return state


def log_step(counts: Counts, rho: float, r: float, eta: float) -> float:
    odds = rho * counts.canary / counts.production
    events = counts.canary_errors + counts.production_errors
    return eta * (counts.canary_errors * log(r) - events * log((1 + r * odds) / (1 + odds)))


def rollback_evidence(history: list[Counts], rho: float, eta: float = 1.0) -> float:
    """E of "at most rho times production's errors": the wealth since every restart, each from its own start."""
    starts = [(0, PHASE_WEIGHT)]
    for number in range(len(history)):
        restarts, rest = divmod(5 * number, RESTART_SECONDS)
        if rest == 0:
            starts.append((number, RESTARTS_WEIGHT / ((restarts + 1) * (restarts + 2))))
    total = 0.0
    for r in ROLLBACK:
        steps = [log_step(counts, rho, r, eta) for counts in history]
        total += sum(weight * exp(min(sum(steps[start:]), 700.0)) for start, weight in starts)
    return total / len(ROLLBACK)


def go_evidence(history: list[Counts], rho: float) -> float:
    sums = (sum(log_step(counts, rho, r, 1.0) for counts in history) for r in GO)
    return sum(exp(min(one, 700.0)) for one in sums) / len(GO)


def boundary(evidence: Callable[[float], float], needed: float) -> float | None:
    """Return the ratio at which the evidence of a monotone family equals what is needed; None if none has it."""
    low, high = 1e-3, 1e3
    ends = [log(max(evidence(rho), 1e-300)) - log(needed) for rho in (low, high)]
    if ends[0] * ends[1] > 0:
        return None
    return float(brentq(lambda rho: log(max(evidence(rho), 1e-300)) - log(needed), low, high, xtol=1e-9))


def encloses(bound: float | None, exact: float | None, grid: np.ndarray, *, from_below: bool) -> bool:
    """Return whether a bound is the last place of the grid on the rejected side of the exact boundary."""
    if exact is None:
        return bound is None or bound in (grid[0], grid[-1])
    rejected = grid[grid <= exact * (1 + 1e-9)] if from_below else grid[grid >= exact * (1 - 1e-9)]
    expected = None if len(rejected) == 0 else rejected.max() if from_below else rejected.min()
    return bound == expected


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_the_error_bounds_are_those_of_a_brute_force_inversion(history: list[Counts]) -> None:
    state, grid = judged(history), confidence.error_ratios(DEFAULT_LIMITS)
    exact_low = boundary(lambda rho: rollback_evidence(history, rho), 250.0)
    assert encloses(check_errors(state, TEN).low, exact_low, grid, from_below=True)
    exact_high = boundary(lambda rho: go_evidence(history, rho), 20.0)
    assert encloses(check_error_go(state, TEN).high, exact_high, grid, from_below=False)


def excludes(measurement: Measurement) -> bool:
    tested = measurement.limit if measurement.tested is None else measurement.tested
    assert tested is not None
    above = measurement.low is not None and measurement.low >= tested
    return above or (measurement.high is not None and measurement.high <= tested)


def measured(state: JudgeState, policy: Policy) -> Iterator[Measurement]:
    for check in (check_errors, check_p95, check_error_go, check_p95_go):
        yield check(state, policy)


@settings(max_examples=60, deadline=None)
@given(HISTORIES, st.sampled_from((1.0, 10.0, 50.0, 100.0)), st.sampled_from((None, 1.0, 3.0)))
def test_a_band_excludes_the_tested_ratio_exactly_when_the_test_decides(
    history: list[Counts], percent: float, dispersion: float | None
) -> None:
    policy = Policy(percent, dispersion=dispersion, limits=Limits(error_rate_negligible=0.0, p95_negligible_seconds=0))
    state = judged(history, policy)
    for found in measured(state, policy):
        assert found.evidence is not None
        assert found.evidence_limit is not None
        assert excludes(found) == (found.evidence >= found.evidence_limit), found


@pytest.mark.parametrize("slower", [0.5, 0.8, 1.0, 1.2, 1.35, 2.0, 5.0])
def test_the_latency_band_excludes_the_limit_exactly_when_the_test_decides(
    arm: MakeArm, absorbed: Absorbed, slower: float
) -> None:
    state: JudgeState | None = None
    outcomes = set()
    for _ in range(120):
        state = absorbed(arm(900, 3), arm(100, 1, 0.012 * slower), buckets=1, before=state)
        for found in (check_p95(state, TEN), check_p95_go(state, TEN)):
            assert found.evidence is not None
            assert found.evidence_limit is not None
            assert excludes(found) == (found.evidence >= found.evidence_limit), found
            outcomes.add((found.name, excludes(found)))
    assert ("p95_ratio", slower > 1.3) in outcomes
    assert ("p95_go", slower < 1.3) in outcomes


@pytest.mark.parametrize("slower", [0.5, 0.8, 1.0, 1.2, 1.35, 2.0, 5.0])
def test_the_latency_bounds_close_in_on_the_true_ratio(arm: MakeArm, absorbed: Absorbed, slower: float) -> None:
    state = absorbed(arm(9000), arm(1000, 0, 0.012 * slower), buckets=200)
    low, high = check_p95(state, TEN).low, check_p95_go(state, TEN).high
    assert low is not None
    assert high is not None
    # Bins are 2 % wide, and the grid is coarser away from the limit.
    assert 0.65 * slower < low <= 1.02 * slower
    assert 0.98 * slower <= high < 1.6 * slower


@settings(max_examples=150, deadline=None)
@given(*[st.integers(0, 400)] * 3, st.sampled_from((1.2, 2.0, 5.0)))
def test_the_paired_bounds_are_those_of_a_brute_force_inversion_and_decide_alike(
    canary_only: int, production_only: int, both: int, limit: float
) -> None:
    def evidence(more: int, fewer: int, rho: float) -> float:
        sums = (more * log1p(bet / rho) + fewer * log1p(-bet) + both * log1p(bet / rho * (1 - rho)) for bet in BETS)
        return sum(exp(min(one, 700.0)) for one in sums) / len(BETS)

    limits = Limits(block_ratio=limit)
    needed = 2.0 / limits.decision_alpha
    state = judged([Counts(0, 100, 0, 900)])
    counts = np.array([both, canary_only, production_only, 10_000])
    found = check_blocks(msgspec.structs.replace(state, paired=counts), limits)
    grid = limit * 1.06 ** np.arange(-51.0, 52.0)
    exact = boundary(lambda rho: evidence(canary_only, production_only, rho), needed)
    inverse = boundary(lambda rho: evidence(production_only, canary_only, rho), needed)
    assert encloses(found.low, exact, grid, from_below=True)
    assert encloses(found.high and 1.0 / found.high, inverse, grid, from_below=True) or found.high == pytest.approx(
        1.0 / grid[grid <= (inverse or 0)].max()
    )
    outside = (found.low or 0.0) >= limit or (found.high or 1e9) <= 1.0 / limit
    assert outside == (found.outcome == "rollback")


@pytest.mark.parametrize("true_ratio", [0.8, 2.0])
def test_the_bounds_miss_the_true_error_ratio_at_any_look_no_more_often_than_they_may(true_ratio: float) -> None:
    """An hour of 200 rollouts, looked at every 5 s: at most 0.4 % may miss below and 5 % above."""
    rng = np.random.default_rng(41)
    replicas, buckets, rate = 200, 720, 0.01
    grid = confidence.error_ratios(DEFAULT_LIMITS)
    at = int(np.flatnonzero(grid >= true_ratio * (1 - 1e-9))[0])
    below = int(np.flatnonzero(grid <= true_ratio * (1 + 1e-9))[-1])
    missed = np.zeros((2, replicas), dtype=bool)
    state: JudgeState | None = None
    latency = np.zeros((replicas, 2, LATENCY_BINS), dtype=np.int32)
    scores, pairs = np.zeros((replicas, 2, SCORE_BINS), dtype=np.int64), np.zeros((replicas, 4), dtype=np.int64)
    requests = np.broadcast_to(np.array([900.0, 100.0]), (replicas, 2))
    for number in range(buckets):
        errors = rng.poisson(requests * rate * np.array([1.0, true_ratio])).astype(np.float64)
        state = absorb_observation(state, Observation(5 * number, 0, requests, errors, latency, scores, pairs), TEN)
        assert state.error_ratios is not None
        state = msgspec.structs.replace(state, latency_ratios=None)
        missed[0] |= reaches(state.error_ratios[:, at, confidence.MORE], 250.0)
        missed[1] |= reaches(state.error_ratios[:, below, confidence.FEWER], 20.0)
    allowed = (0.004, 0.05)
    for side, alpha in zip(missed, allowed, strict=True):
        # Three standard errors of a share of 200 above it.
        assert side.mean() <= alpha + 3 * (alpha * (1 - alpha) / replicas) ** 0.5


def test_a_state_of_an_earlier_release_has_no_bounds_and_the_same_verdict(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900, 3), arm(100, 20), buckets=10)
    stored = msgspec.json.decode(encode_state(state))
    del stored["error_ratios"], stored["latency_ratios"]
    before = decode_state(msgspec.json.encode(stored))
    continued, ours = (absorbed(arm(900, 3), arm(100, 20), buckets=70, before=one) for one in (before, state))
    for old, new in zip(measured(continued, TEN), measured(ours, TEN), strict=True):
        assert (old.low, old.high) == (None, None)
        assert old == msgspec.structs.replace(new, low=None, high=None)
    assert check_errors(ours, TEN).low is not None


def test_what_a_histogram_cannot_show_is_no_evidence_about_a_ratio(arm: MakeArm, absorbed: Absorbed) -> None:
    """Both models answer within its first bin of 1 ms: the canary may be any number of times faster or slower."""
    fast = ArmBucket(requests=1000, latency={0: 990, 5: 10})
    state = absorbed(fast, fast, buckets=400)
    low, high = check_p95(state, TEN).low, check_p95_go(state, TEN).high
    assert low is None
    assert high is not None
    assert high >= 1.0


def test_the_level_is_that_of_all_tests_behind_a_band() -> None:
    ratio = Measurement("error_ratio", "pass", "r", 1.0, 1.5, "ratio", 3.0, 250.0)
    assert confidence_of(ratio) == pytest.approx(0.996)
    assert confidence_of(msgspec.structs.replace(ratio, name="block_ratio", evidence_limit=2000.0)) == 0.999
    assert confidence_of(msgspec.structs.replace(ratio, name="sample_ratio")) is None
    assert confidence_of(msgspec.structs.replace(ratio, evidence_limit=None)) is None


@pytest.mark.parametrize(
    ("low", "high", "words"), [(None, None, ""), (1.31, None, "above 1.31"), (None, 2, "below 2"), (0.5, 2, "0.5 to 2")]
)
def test_a_band_is_open_where_nothing_is_excluded(low: float | None, high: float | None, words: str) -> None:
    assert interval_text(Measurement("block_ratio", "pass", "r", low=low, high=high)) == words


def test_the_documented_bounds_and_levels_are_those_of_the_rules(arm: MakeArm, absorbed: Absorbed) -> None:
    page = (Path(__file__).parents[4] / "docs" / "judging.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)` \| (lower|upper|both) \| [^|]* \| ([\d.]+) % \|", page, re.MULTILINE)
    policy = Policy(percent=10, limits=Limits(recall_ratio=1.1))
    labels = LabelCounts(100, 100, Paired(), Paired(5, 5, 5, 5))
    verdict = judge(absorbed(arm(900, 3), arm(100, 1)), policy, JudgeInputs(now=10.0, bake_over=True, labels=labels))
    levels = {one.name: confidence_of(one) for one in verdict.measurements}
    assert {name: float(level) / 100 for name, _, level in documented} == pytest.approx(
        {name: level for name, level in levels.items() if level}
    )
