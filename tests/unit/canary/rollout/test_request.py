import pytest

from canary.plan import DEFAULT_PLAN
from canary.rollout.request import RequestInvalid, parse_reason, parse_request

MODEL = "3f2b8c1e-5d60-4e0a-9b7a-0d6a1c2b3e4f"


def test_a_request_of_the_runbook_is_read() -> None:
    request = parse_request({"product": "fraud_score", "canary_percent": 10, "canary_model_id": MODEL.upper()})
    assert (request.product, request.canary_percent, request.canary_model_id) == ("fraud_score", 10, MODEL)
    assert request.plan is request.limits is request.mode is None


@pytest.mark.parametrize("percent", [0, 0.5, 100, 100.0])
def test_a_percentage_goes_from_0_to_100(percent: float) -> None:
    assert parse_request({"product": "p", "canary_percent": percent}).canary_percent == percent


@pytest.mark.parametrize("percent", [-0.1, 100.1, True, "10", float("nan"), float("inf"), None])
def test_no_other_percentage_is_taken(percent: object) -> None:
    with pytest.raises(RequestInvalid, match="canary_percent: "):
        parse_request({"product": "p", "canary_percent": percent})


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(RequestInvalid) as refused:
        parse_request(
            {
                "canary_percent": "much",
                "canary_model_id": "2",
                "mode": "hope",
                "plan": {"steps": [{"percent": 50}, {"percent": 10}]},
                "limits": {"p95_ration": 2},
                "when": "now",
            }
        )
    assert refused.value.faults == (
        "canary_model_id: must be the model_id of a registered version",
        "canary_percent: must be a number from 0 to 100",
        "limits.p95_ration: no such field",
        "mode: must be sequential or threshold",
        "plan.steps: every percent must be above the one before it",
        "product: is missing",
        "when: no such field",
    )


def test_a_plan_may_be_named() -> None:
    assert parse_request({"product": "p", "canary_percent": 1, "plan": "default"}).plan == DEFAULT_PLAN


@pytest.mark.parametrize("body", [None, [], "fraud_score", 10])
def test_a_body_that_is_not_an_object_is_refused(body: object) -> None:
    with pytest.raises(RequestInvalid, match="JSON object"):
        parse_request(body)


def test_a_reason_may_be_left_out_and_nothing_else_may_be_said() -> None:
    assert parse_reason(None) is None
    assert parse_reason({}) is None
    assert parse_reason({"reason": "drill"}) == "drill"
    with pytest.raises(RequestInvalid, match="force: no such field"):
        parse_reason({"force": True})
    with pytest.raises(RequestInvalid, match="reason: must have 1 to 1000 characters"):
        parse_reason({"reason": ""})
