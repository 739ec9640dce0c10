from collections.abc import Callable

import msgspec
import pytest

from canary.fuse import FuseTrip
from canary.judge.absorb import absorb
from canary.judge.evidence import ArmBucket, Bucket, Paired
from canary.judge.safety_rules import JudgeInputs
from canary.judge.state import JudgeState, decode_state, encode_state
from canary.judge.verdict import Verdict, judge
from canary.limits import CustomMetric, Limits, Policy

TEN = Policy(percent=10)
MakeArm = Callable[..., ArmBucket]
Absorbed = Callable[..., JudgeState]
TRIP = FuseTrip(0.0, requests=4, errors=4, production_failing=False)


def inputs(state: JudgeState | None, **changes: object) -> JudgeInputs:
    now = 0.0 if state is None else float(state.through + 5)
    return msgspec.structs.replace(JudgeInputs(now=now, bake_over=True, critical_alerts=()), **changes)


@pytest.fixture
def healthy(arm: MakeArm, absorbed: Absorbed) -> JudgeState:
    return absorbed(arm(900, 9), arm(100, 1), buckets=300)


def test_a_healthy_canary_advances_after_its_bake_time(healthy: JudgeState) -> None:
    verdict = judge(healthy, TEN, inputs(healthy))
    assert (verdict.kind, verdict.through) == ("advance", healthy.through)


def test_a_healthy_canary_continues_during_its_bake_time_and_the_reason_says_so(healthy: JudgeState) -> None:
    verdict = judge(healthy, TEN, inputs(healthy, bake_over=False))
    assert verdict.kind == "continue"
    assert verdict.reasons == ("the step has not yet lasted as long as its plan asks",)


def test_too_little_evidence_continues(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900, 9), arm(100, 1), buckets=3)
    assert judge(state, TEN, inputs(state)).kind == "continue"


def test_no_evidence_holds_and_the_fuse_still_rolls_back() -> None:
    assert judge(None, TEN, inputs(None)).kind == "hold"
    assert judge(None, TEN, inputs(None, fuse_trips=(TRIP,))).kind == "rollback"


@pytest.mark.parametrize(
    "changes",
    [{"critical_alerts": ("SiraDown",)}, {"critical_alerts": None}, {"now": 1e9}],
    ids=["alert", "no Alertmanager", "stale"],
)
def test_findings_that_need_review_hold(healthy: JudgeState, changes: dict[str, object]) -> None:
    verdict = judge(healthy, TEN, inputs(healthy, **changes))
    assert verdict.kind == "hold"
    assert len(verdict.reasons) == 1


def test_a_rollback_comes_before_every_hold(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900, 3), arm(100, 50), buckets=2)
    verdict = judge(state, TEN, inputs(state, critical_alerts=None, now=1e9))
    assert verdict.kind == "rollback"
    assert all("errors" in reason for reason in verdict.reasons)


def test_a_custom_metric_without_a_value_holds(healthy: JudgeState) -> None:
    limits = Limits(metrics=(CustomMetric("chargebacks", "up", 1.0),))
    policy = Policy(percent=10, limits=limits)
    assert judge(healthy, policy, inputs(healthy)).kind == "hold"
    assert judge(healthy, policy, inputs(healthy, metrics={"chargebacks": 0.5})).kind == "advance"
    assert judge(healthy, policy, inputs(healthy, metrics={"chargebacks": 1.5})).kind == "rollback"


def test_a_plan_that_requires_labels_waits_for_them(healthy: JudgeState) -> None:
    policy = Policy(percent=10, limits=Limits(labels_required=True))
    verdict = judge(healthy, policy, inputs(healthy))
    assert (verdict.kind, verdict.reasons) == ("continue", ("not yet knowable: there are no labels",))


def test_threshold_mode_rolls_back_where_sequential_mode_does_not_yet(arm: MakeArm, absorbed: Absorbed) -> None:
    before = absorbed(arm(900, 3), arm(100, 0), buckets=3)
    state = absorbed(arm(900, 3), arm(100, 1), buckets=7, before=before)
    assert judge(state, TEN, inputs(state)).kind != "rollback"
    assert judge(state, Policy(percent=10, mode="threshold"), inputs(state)).kind == "rollback"


def test_threshold_mode_advances_a_healthy_canary(healthy: JudgeState) -> None:
    assert judge(healthy, Policy(percent=10, mode="threshold"), inputs(healthy)).kind == "advance"


def test_a_shadow_at_0_percent_advances_on_its_decisions_alone(arm: MakeArm, absorbed: Absorbed) -> None:
    shadow = Policy(percent=0)
    canary = ArmBucket(scores={0: 50, 1: 50})
    state = absorbed(arm(1000, 3), canary, policy=shadow)
    assert judge(state, shadow, inputs(state)).kind == "advance"
    flipping = absorbed(arm(1000, 3), canary, policy=shadow, paired=Paired(n10=10, n00=90))
    assert judge(flipping, shadow, inputs(flipping)).kind == "rollback"


def test_replaying_the_stored_buckets_reproduces_every_verdict(arm: MakeArm) -> None:
    production, good, bad = arm(900, 3), arm(100, 0), arm(100, 2, 0.013)
    buckets = [Bucket(5 * i, 0, production, good if i < 60 else bad, Paired(n11=1, n00=99)) for i in range(120)]
    live: list[Verdict] = []
    state: JudgeState | None = None
    for bucket in buckets:
        state = absorb(None if state is None else decode_state(encode_state(state)), bucket, TEN)
        live.append(judge(state, TEN, inputs(state)))
    replayed: list[Verdict] = []
    state = None
    for bucket in msgspec.json.decode(msgspec.json.encode(buckets), type=list[Bucket]):
        state = absorb(state, bucket, TEN)
        replayed.append(judge(state, TEN, inputs(state)))
    assert live == replayed
    assert {verdict.kind for verdict in live} > {"continue", "rollback"}


def test_a_verdict_is_unchanged_by_json(healthy: JudgeState) -> None:
    verdict = judge(healthy, TEN, inputs(healthy))
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
