from collections.abc import Callable
from math import inf, nan

import msgspec
import pytest

from canary.fuse import FuseTrip
from canary.judge.evidence import ArmBucket
from canary.judge.safety_rules import (
    JudgeInputs,
    check_alerts,
    check_freshness,
    check_fuse,
    check_metric,
    check_silence,
)
from canary.judge.state import JudgeState
from canary.limits import DEFAULT_LIMITS, CustomMetric, Limits

MakeArm = Callable[..., ArmBucket]
Absorbed = Callable[..., JudgeState]
INPUTS = JudgeInputs(now=1000.0, bake_over=True, critical_alerts=())
TRIP = FuseTrip(999.0, requests=4, errors=4, production_failing=False)
HELD = FuseTrip(999.0, requests=4, errors=4, production_failing=True)


@pytest.mark.parametrize(
    ("trips", "outcome"), [((), "pass"), ((TRIP,), "rollback"), ((HELD,), "hold"), ((HELD, TRIP), "rollback")]
)
def test_an_open_fuse_rolls_back_unless_production_failed_too(trips: tuple[FuseTrip, ...], outcome: str) -> None:
    assert check_fuse(msgspec.structs.replace(INPUTS, fuse_trips=trips)).outcome == outcome


@pytest.mark.parametrize(("buckets", "outcome"), [(0, "pass"), (1, "hold"), (23, "hold"), (24, "rollback")])
def test_a_silent_canary_holds_and_is_rolled_back_after_two_minutes(
    arm: MakeArm, absorbed: Absorbed, buckets: int, outcome: str
) -> None:
    state = absorbed(arm(900), arm(100), buckets=10)
    if buckets:
        state = absorbed(arm(1000), ArmBucket(), buckets=buckets, before=state)
    assert check_silence(state, DEFAULT_LIMITS).outcome == outcome


def test_a_canary_that_has_never_answered_is_silent_from_the_start(arm: MakeArm, absorbed: Absorbed) -> None:
    assert check_silence(absorbed(arm(1000), ArmBucket(), buckets=24), DEFAULT_LIMITS).outcome == "rollback"


def test_fewer_than_15_expected_requests_do_not_count_as_silence(arm: MakeArm, absorbed: Absorbed) -> None:
    assert check_silence(absorbed(arm(1), ArmBucket(), buckets=149), DEFAULT_LIMITS).outcome == "pass"
    assert check_silence(absorbed(arm(1), ArmBucket(), buckets=151), DEFAULT_LIMITS).outcome == "rollback"


def test_one_request_ends_the_silence(arm: MakeArm, absorbed: Absorbed) -> None:
    silent = absorbed(arm(1000), ArmBucket(), buckets=20)
    assert check_silence(absorbed(arm(999), arm(1), buckets=1, before=silent), DEFAULT_LIMITS).outcome == "pass"


def test_stale_evidence_holds(arm: MakeArm, absorbed: Absorbed) -> None:
    state = absorbed(arm(900), arm(100), buckets=2)
    assert check_freshness(state, DEFAULT_LIMITS, now=state.through + 30.0).outcome == "pass"
    assert check_freshness(state, DEFAULT_LIMITS, now=state.through + 30.1).outcome == "hold"


@pytest.mark.parametrize(("alerts", "outcome"), [((), "pass"), (("SiraDown",), "hold"), (None, "hold")])
def test_a_critical_alert_or_an_unreachable_alertmanager_holds(alerts: tuple[str, ...] | None, outcome: str) -> None:
    found = check_alerts(DEFAULT_LIMITS, msgspec.structs.replace(INPUTS, critical_alerts=alerts))
    assert found.outcome == outcome


def test_a_rollout_may_ignore_alerts_to_ship_a_fix() -> None:
    firing = msgspec.structs.replace(INPUTS, critical_alerts=("SiraDown",))
    assert check_alerts(Limits(critical_alerts="ignore"), firing).outcome == "pass"


@pytest.mark.parametrize(
    ("value", "bad", "on_breach", "outcome"),
    [
        (0.9, "above", "rollback", "pass"),
        (1.0, "above", "rollback", "pass"),
        (1.1, "above", "rollback", "rollback"),
        (inf, "above", "rollback", "rollback"),
        (1.1, "above", "hold", "hold"),
        (0.9, "below", "rollback", "rollback"),
        (1.1, "below", "rollback", "pass"),
        (None, "above", "rollback", "hold"),
        (nan, "above", "rollback", "hold"),
        (nan, "below", "hold", "hold"),
    ],
)
def test_a_custom_metric_acts_on_its_limit_and_holds_without_a_value(
    value: float | None, bad: str, on_breach: str, outcome: str
) -> None:
    metric = msgspec.convert(
        {"name": "chargebacks", "query": "up", "limit": 1.0, "bad": bad, "on_breach": on_breach}, CustomMetric
    )
    assert check_metric(metric, value).outcome == outcome
