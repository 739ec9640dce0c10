import pytest

from canary.plan import DEFAULT_PLAN
from canary.rollout.request import CanaryToStart, WithReason
from runtime.reading import InputInvalid, read

MODEL = "3f2b8c1e-5d60-4e0a-9b7a-0d6a1c2b3e4f"


def test_the_request_of_the_runbook_is_read() -> None:
    request = read(CanaryToStart, {"product": "fraud_score", "canary_percent": 10, "canary_model_id": MODEL.upper()})
    assert (request.product, request.canary_percent, request.canary_model_id) == ("fraud_score", 10, MODEL)
    assert request.plan is request.chosen_plan is request.limits is request.mode is None


@pytest.mark.parametrize("percent", [0, 0.5, 100, 100.0])
def test_a_percentage_goes_from_0_to_100(percent: float) -> None:
    assert read(CanaryToStart, {"product": "p", "canary_percent": percent}).canary_percent == percent


@pytest.mark.parametrize("percent", [-0.1, 100.1, True, "10", float("nan"), float("inf"), None])
def test_any_other_percentage_is_refused(percent: object) -> None:
    with pytest.raises(InputInvalid, match=r"^/canary_percent: must be a number from 0 to 100$"):
        read(CanaryToStart, {"product": "p", "canary_percent": percent})


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(InputInvalid) as refused:
        read(
            CanaryToStart,
            {
                "canary_percent": "much",
                "canary_model_id": "2",
                "mode": "hope",
                "plan": {"steps": [{"percent": 50}, {"percent": 10}]},
                "limits": {"p95_ration": 2},
                "when": "now",
            },
        )
    assert {violation.pointer: violation.detail for violation in refused.value.violations} == {
        "/canary_model_id": "must be the model_id of a registered version",
        "/canary_percent": "must be a number from 0 to 100",
        "/limits/p95_ration": "no such field; did you mean p95_ratio?",
        "/mode": "must be sequential or threshold",
        "/plan/steps": "every percent must be above the one before it",
        "/product": "is missing",
        "/when": "no such field",
    }


def test_a_plan_may_be_named() -> None:
    assert read(CanaryToStart, {"product": "p", "canary_percent": 1, "plan": "default"}).chosen_plan == DEFAULT_PLAN
    with pytest.raises(InputInvalid, match="/plan: must be an object or default"):
        read(CanaryToStart, {"product": "p", "canary_percent": 1, "plan": "weekly"})


@pytest.mark.parametrize("body", [None, [], "fraud_score", 10])
def test_a_body_that_is_not_an_object_is_refused(body: object) -> None:
    with pytest.raises(InputInvalid, match="must be an object"):
        read(CanaryToStart, body)


def test_a_reason_may_be_left_out_but_not_be_empty() -> None:
    assert read(WithReason, {}).reason is None
    assert read(WithReason, {"reason": "drill"}).reason == "drill"
    with pytest.raises(InputInvalid, match="/force: no such field"):
        read(WithReason, {"force": True})
    with pytest.raises(InputInvalid, match="/reason: must be text of 1 to 1,000 characters"):
        read(WithReason, {"reason": ""})
