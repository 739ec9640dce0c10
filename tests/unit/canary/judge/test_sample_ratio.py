from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from canary.judge.absorb import absorb
from canary.judge.evidence import ArmBucket, Bucket
from canary.judge.measurement import Measurement
from canary.judge.sample_ratio import check_sample_ratio, dispersion
from canary.judge.state import JudgeState, decode_state, encode_state
from canary.judge.verdict import judge
from canary.limits import DEFAULT_LIMITS, Limits, Policy
from tests.unit.canary.judge.test_safety_rules import INPUTS

MakeArm = Callable[..., ArmBucket]
Absorbed = Callable[..., JudgeState]
TEN = Policy(percent=10)


def measured(state: JudgeState, policy: Policy = TEN) -> Measurement:
    assert state.split is not None
    return check_sample_ratio(state.split, policy.percent, policy.limits)


@pytest.mark.parametrize(
    ("production", "canary", "outcome"),
    [
        (900, 100, "pass"),
        (880, 120, "pass"),
        (920, 80, "pass"),
        (800, 200, "hold"),
        (950, 50, "hold"),
        (1000, 0, "hold"),
    ],
)
def test_a_split_that_did_not_arrive_as_it_was_set_holds_in_both_directions(
    arm: MakeArm, absorbed: Absorbed, production: int, canary: int, outcome: str
) -> None:
    assert measured(absorbed(arm(production), arm(canary))).outcome == outcome


def test_the_reason_names_what_arrived_and_what_was_set(arm: MakeArm, absorbed: Absorbed) -> None:
    found = measured(absorbed(arm(950), arm(50)))
    assert found.value == pytest.approx(0.5)
    assert found.reason.startswith(
        "sample ratio mismatch: of 60,000 requests the canary got 3,000, 6,000 were set: look for a worker"
    )


@pytest.mark.parametrize("percent", [0, 100])
def test_without_a_split_nothing_is_checked(arm: MakeArm, absorbed: Absorbed, percent: int) -> None:
    policy = Policy(percent=percent)
    assert measured(absorbed(arm(500), arm(500), policy=policy), policy).outcome == "pass"


def test_a_mismatch_that_begins_after_a_healthy_day_is_found_within_minutes(arm: MakeArm, absorbed: Absorbed) -> None:
    day = absorbed(arm(900), arm(100), buckets=17_280)
    assert measured(day).outcome == "pass"
    assert measured(absorbed(arm(950), arm(50), buckets=120, before=day)).outcome == "hold"


def test_a_hold_ends_once_the_split_is_as_set_and_does_not_begin_again(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(950), arm(50), buckets=40)
    outcomes = [measured(state).outcome]
    for _ in range(400):
        state = absorbed(arm(900), arm(100), buckets=1, before=state)
        outcomes.append(measured(state).outcome)
    changes = [later for earlier, later in pairwise(outcomes) if earlier != later]
    assert (outcomes[0], changes) == ("hold", ["pass"])


def test_requests_that_come_in_clusters_count_less(arm: MakeArm) -> None:
    def after_an_hour(run: int) -> float:
        rng, state = np.random.default_rng(5), None
        for number in range(720):
            runs = rng.poisson([900 / run, 100 / run])
            state = absorb(state, Bucket(number * 5, 0, *(ArmBucket(requests=int(n) * run) for n in runs)), TEN)
        assert state is not None
        assert state.split is not None
        return float(dispersion(state.split))

    assert after_an_hour(run=1) == pytest.approx(20 / 7, rel=0.5)  # ten assumed minutes of 20 among sixty
    assert after_an_hour(run=20) > 3 * after_an_hour(run=1)


def test_a_state_and_limits_from_before_the_rule_give_no_such_measurement(arm: MakeArm, absorbed: Absorbed) -> None:
    without = msgspec.json.decode(encode_state(absorbed(arm(950), arm(50))))
    del without["split"]
    state = absorbed(arm(950), arm(50), before=decode_state(msgspec.json.encode(without)))
    for policy, judged in ((TEN, state), (Policy(10, limits=Limits(sample_ratio=None)), absorbed(arm(950), arm(50)))):
        assert "sample_ratio" not in {m.name for m in judge(judged, policy, INPUTS).measurements}


def test_the_rule_can_be_left_out_or_widened(arm: MakeArm, absorbed: Absorbed) -> None:
    wide = Policy(10, limits=msgspec.structs.replace(DEFAULT_LIMITS, sample_ratio=3.0))
    assert measured(absorbed(arm(950), arm(50), policy=wide), wide).outcome == "pass"
