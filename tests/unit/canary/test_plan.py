import msgspec
import pytest

from canary.limits import DEFAULT_LIMITS, CustomMetric, Limits, routed_percent
from canary.plan import DEFAULT_PLAN, Plan, Step
from runtime.reading import InputInvalid, read

HOUR = 3600


def test_the_default_plan_is_that_of_the_runbook() -> None:
    steps = [(step.percent, step.bake_seconds // HOUR, step.gate) for step in DEFAULT_PLAN.steps]
    assert steps == [(10, 24, "auto"), (25, 24, "auto"), (50, 48, "auto"), (100, 72, "auto")]


@pytest.mark.parametrize("plan", [DEFAULT_PLAN, Plan((Step(0, 60), Step(1.5, 0, "manual")), name="careful")])
def test_a_plan_is_unchanged_by_json(plan: Plan) -> None:
    assert read(Plan, msgspec.json.decode(msgspec.json.encode(plan))) == plan


def test_every_fault_of_a_plan_is_named_at_once() -> None:
    raw = {"steps": [{"percent": 10, "gate": "none"}, {"percent": 5, "bake_seconds": -1, "x": 1}, {}, 7], "owner": "me"}
    with pytest.raises(InputInvalid) as caught:
        read(Plan, raw)
    assert [(violation.pointer, violation.detail) for violation in caught.value.violations] == [
        ("/owner", "no such field"),
        ("/steps/0/gate", "must be auto or manual"),
        ("/steps/1/x", "no such field"),
        ("/steps/1/bake_seconds", "must be a whole number from 0 to 7,776,000"),
        ("/steps/2/percent", "is missing"),
        ("/steps/3", "must be an object"),
    ]


def test_the_order_of_steps_is_checked_among_the_readable_ones() -> None:
    with pytest.raises(InputInvalid, match="/steps/1: must be an object; /steps: every percent must be above the one"):
        read(Plan, {"steps": [{"percent": 10}, 7, {"percent": 5}]})


@pytest.mark.parametrize(
    "raw",
    [
        None,
        3,
        [],
        "weekly",
        {},
        {"steps": []},
        {"steps": 5},
        {"steps": [{"percent": 101}]},
        {"steps": [{"percent": "9"}]},
    ],
)
def test_a_value_that_is_not_a_plan_is_refused(raw: object) -> None:
    with pytest.raises(InputInvalid):
        read(Plan, raw)


@pytest.mark.parametrize("percents", [(10, 10), (25, 10)])
def test_percentages_must_rise(percents: tuple[int, int]) -> None:
    with pytest.raises(InputInvalid, match="above the one before"):
        read(Plan, {"steps": [{"percent": percent} for percent in percents]})


def test_limits_that_are_not_given_have_their_defaults() -> None:
    assert read(Limits, {}) == DEFAULT_LIMITS
    assert read(Limits, {"psi": 0.2}) == Limits(psi=0.2)


def test_limits_with_metrics_are_unchanged_by_json() -> None:
    limits = Limits(metrics=(CustomMetric("chargebacks", "sum(rate(c[5m]))", 0.01, on_breach="hold"),))
    assert read(Limits, msgspec.json.decode(msgspec.json.encode(limits))) == limits


def test_every_fault_of_the_limits_is_named_at_once() -> None:
    metric = {"name": "a", "query": "up", "limit": 1}
    raw = {"psi": "a", "error_ratio": 1.1, "flips": 1, "metrics": [metric, metric | {"query": ""}, metric]}
    with pytest.raises(InputInvalid) as caught:
        read(Limits, raw)
    assert [violation.pointer for violation in caught.value.violations] == [
        *("/flips", "/psi", "/metrics/1/query", "/error_ratio_allowed", "/metrics"),
    ]


def test_a_holdback_keeps_its_share_of_a_step_of_100_percent_only() -> None:
    limits = Limits(holdback_percent=5)
    assert [routed_percent(percent, limits) for percent in (0, 10, 50, 100)] == [0, 10, 50, 95]
    assert routed_percent(100, DEFAULT_LIMITS) == 100
