from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from canary.controller.state_cache import StateCache
from canary.judge.absorb import absorb, absorb_observation
from canary.judge.evidence import ArmBucket, Bucket, Paired, bins_of_ratio
from canary.judge.observation import observe
from canary.judge.sequential import CANARY, PRODUCTION, log_evidence
from canary.judge.state import JudgeState, decode_state, encode_state
from canary.limits import Policy

TEN = Policy(percent=10)
MakeArm = Callable[..., ArmBucket]
Absorbed = Callable[..., JudgeState]


def random_buckets(arm: MakeArm, count: int) -> list[Bucket]:
    rng = np.random.default_rng(11)
    return [
        Bucket(
            start=5 * i,
            phase=i // 150,
            production=arm(int(rng.poisson(900)), int(rng.poisson(3)), rng.uniform(0.011, 0.013)),
            canary=arm(int(rng.poisson(100)), int(rng.poisson(1)), rng.uniform(0.011, 0.016)),
            paired=Paired(*(int(n) for n in rng.multinomial(100, [0.01, 0.01, 0.01, 0.97]))),
        )
        for i in range(count)
    ]


def test_storing_the_state_after_every_tick_changes_no_bit_of_it(arm: MakeArm) -> None:
    kept: JudgeState | None = None
    stored: bytes | None = None
    for bucket in random_buckets(arm, 250):
        kept = absorb(kept, bucket, TEN)
        stored = encode_state(absorb(None if stored is None else decode_state(stored), bucket, TEN))
    assert kept is not None
    assert encode_state(kept) == stored


def test_a_state_that_another_controller_stored_is_decoded(arm: MakeArm, absorbed: Absorbed) -> None:
    cache = StateCache()
    ours, theirs = absorbed(arm(900, 3), arm(100, 0), buckets=2), absorbed(arm(900, 3), arm(100, 0), buckets=3)
    encoded = cache.encode("a", ours)
    assert cache.decode("a", encoded) is ours
    cache.encode("a", ours)
    assert cache.decode("a", encode_state(theirs).decode()).through == theirs.through
    assert cache.decode("b", encoded).through == ours.through


def test_a_stored_state_is_small_and_has_no_null(arm: MakeArm, absorbed: Absorbed) -> None:
    encoded = encode_state(absorbed(arm(900, 3), arm(100, 0), buckets=200))
    assert len(encoded) < 30_000
    assert b"null" not in encoded


def test_rollouts_in_one_array_are_judged_like_each_alone(arm: MakeArm) -> None:
    buckets = random_buckets(arm, 80)
    other = [msgspec.structs.replace(bucket, canary=arm(100, 5, 0.02)) for bucket in buckets]
    side_by_side: JudgeState | None = None
    alone: list[JudgeState | None] = [None, None]
    for pair in zip(buckets, other, strict=True):
        seen = [observe(bucket) for bucket in pair]
        arrays = {
            name: np.stack([getattr(one, name) for one in seen])
            for name in ("requests", "errors", "latency", "scores", "paired")
        }
        side_by_side = absorb_observation(side_by_side, msgspec.structs.replace(seen[0], **arrays), TEN)
        alone = [absorb(state, bucket, TEN) for state, bucket in zip(alone, pair, strict=True)]
    assert side_by_side is not None
    for replica, state in enumerate(alone):
        assert state is not None
        assert side_by_side.errors.log_wealth[replica] == pytest.approx(state.errors.log_wealth, rel=1e-12)
        assert side_by_side.latency.log_wealth[replica] == pytest.approx(state.latency.log_wealth, rel=1e-12)
        assert side_by_side.phase.slow[replica].tolist() == state.phase.slow.tolist()


def test_the_weights_of_all_restarts_never_sum_to_more_than_1(arm: MakeArm, absorbed: Absorbed) -> None:
    """Without evidence the wealth is the sum of the weights: seven phases and four hours of restarts."""
    nobody = ArmBucket()
    state = absorbed(nobody, nobody, buckets=1)
    for phase in range(1, 7):
        state = absorbed(nobody, nobody, buckets=500, before=state, phase=phase, paired=Paired())
    assert 0.98 < float(np.exp(log_evidence(state.errors.log_wealth))) < 1.0


def test_the_p95_that_a_bucket_is_compared_with_does_not_depend_on_the_bucket(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900), arm(100, median_seconds=0.05), buckets=1)
    assert state.phase.timed.tolist() == [0.0, 0.0]
    state = absorbed(arm(900), arm(100, median_seconds=0.05), buckets=1, before=state)
    assert state.phase.timed.tolist() == [900.0, 100.0]
    assert state.phase.slow[PRODUCTION] <= 45
    assert state.phase.slow[CANARY] > 80


def test_latency_is_not_compared_before_production_has_enough_samples(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(50), arm(5, median_seconds=0.05), buckets=4)
    assert state.phase.timed.tolist() == [0.0, 0.0]
    state = absorbed(arm(50), arm(5, median_seconds=0.05), buckets=1, before=state)
    assert state.phase.timed.tolist() == [50.0, 5.0]


def test_a_new_phase_drops_the_evidence_to_advance_and_keeps_the_tests_and_production(
    arm: MakeArm, absorbed: Absorbed
) -> None:
    first = absorbed(arm(900, 3), arm(100, 1))
    second = absorbed(arm(750, 2), arm(250, 1), buckets=1, before=first, phase=1)
    assert second.phase.number == 1
    assert second.phase.started == first.through
    assert second.phase.requests.tolist() == [750.0, 250.0]
    assert second.paired.tolist() == [61, 0, 0, 61 * 99]
    assert float(second.production_requests) == 60 * 900 + 750
    assert second.errors.requests[0].tolist() == [54_750.0, 6_250.0]


def test_a_late_row_of_the_previous_phase_does_not_start_a_phase(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900), arm(100), buckets=2, phase=3)
    assert absorbed(arm(9), arm(1), buckets=1, before=state, phase=2).phase.number == 3


def test_requests_are_at_least_as_many_as_errors(absorbed: Absorbed) -> None:
    state = absorbed(ArmBucket(requests=900), ArmBucket(requests=0, errors=2), buckets=1)
    assert state.phase.requests.tolist() == [900.0, 2.0]


def test_a_shadow_at_0_percent_expects_no_canary_requests(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(1000), ArmBucket(), policy=Policy(percent=0))
    assert float(state.unanswered) == 0.0


def test_a_p95_ratio_shifts_the_edge_by_its_number_of_bins() -> None:
    assert [bins_of_ratio(ratio) for ratio in (1.3, 1.69, 1.1)] == [13, 26, 5]
