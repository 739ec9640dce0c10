"""The judge's other inputs and their rules: fuse, silence, custom metrics, freshness, critical alerts, bake time."""

from collections.abc import Iterator

import msgspec

from canary.fuse import FuseTrip
from canary.judge.decision_rules import LabelCounts
from canary.judge.measurement import Measurement, RuleOutcome
from canary.judge.state import JudgeState
from canary.limits import CustomMetric, Limits, Policy

NO_EVIDENCE = Measurement("freshness", "hold", "no evidence yet: nothing has been answered since the rollout began")


class JudgeInputs(msgspec.Struct, frozen=True):
    """now: epoch seconds. critical_alerts: names, None when Alertmanager did not answer.

    metrics: values by metric name, None or absent without a value. labels: None when there are none.
    """

    now: float
    bake_over: bool
    critical_alerts: tuple[str, ...] | None = None
    metrics: dict[str, float | None] = {}
    labels: LabelCounts | None = None
    fuse_trips: tuple[FuseTrip, ...] = ()


def check_safety(state: JudgeState, policy: Policy, inputs: JudgeInputs) -> Iterator[Measurement]:
    """Check every rule of this module, those that can roll back first."""
    limits = policy.limits
    yield check_fuse(inputs)
    yield check_silence(state, limits)
    for metric in limits.metrics:
        yield check_metric(metric, inputs.metrics.get(metric.name))
    yield check_freshness(state, limits, inputs.now)
    yield check_alerts(limits, inputs)
    yield check_bake(inputs)


def check_fuse(inputs: JudgeInputs) -> Measurement:
    """Roll back when a process's fuse has opened; hold when production was failing too."""
    trips = inputs.fuse_trips
    opened = [trip for trip in trips if not trip.production_failing]
    if opened:
        trip = opened[0]
        reason = (
            f"a serving process saw {trip.errors} errors in {trip.requests} canary requests and stopped routing to it"
        )
        return Measurement("fuse", "rollback", reason, len(opened), 0, "trips")
    if trips:
        reason = "the fuse would have tripped, but production is failing too: look for a cause outside the models"
        return Measurement("fuse", "hold", reason, len(trips), 0, "trips")
    return Measurement("fuse", "pass", "no serving process has tripped its fuse", 0, 0, "trips")


def check_silence(state: JudgeState, limits: Limits) -> Measurement:
    """Hold when expected canary requests are missing, and roll back after a while."""
    expected, seconds = float(state.unanswered), state.through - float(state.silent_since)
    if expected < limits.expected_requests:
        reason = "the canary is getting its requests"
        return Measurement("silence", "pass", reason, 0.0, limits.silence_seconds, "seconds")
    reason = f"no canary request for {seconds:.0f} s, though about {expected:.0f} were expected"
    outcome: RuleOutcome = "rollback" if seconds >= limits.silence_seconds else "hold"
    return Measurement("silence", outcome, reason, seconds, limits.silence_seconds, "seconds")


def check_freshness(state: JudgeState, limits: Limits, now: float) -> Measurement:
    """Hold on stale evidence: missing data is never a success."""
    age = now - state.through
    if age > limits.stale_seconds:
        reason = f"the newest evidence is {age:.0f} s old: is anything logged, and shipped to Postgres?"
        return Measurement("freshness", "hold", reason, age, limits.stale_seconds, "seconds")
    reason = f"the newest evidence is {age:.0f} s old"
    return Measurement("freshness", "pass", reason, age, limits.stale_seconds, "seconds")


def check_alerts(limits: Limits, inputs: JudgeInputs) -> Measurement:
    alerts = inputs.critical_alerts
    if limits.critical_alerts == "ignore":
        return Measurement("critical_alerts", "pass", "this plan goes on whatever alert fires")
    if alerts is None:
        reason = (
            "no Alertmanager answers, so it is unknown whether a critical alert is firing: set the controller's"
            ' ALERTMANAGER_URL, or start a rollout whose limits say "critical_alerts": "ignore"'
        )
        return Measurement("critical_alerts", "hold", reason)
    if alerts:
        reason = f"critical alert firing: {', '.join(alerts)}"
        return Measurement("critical_alerts", "hold", reason, len(alerts), 0, "alerts")
    return Measurement("critical_alerts", "pass", "no critical alert fires", 0, 0, "alerts")


def check_metric(metric: CustomMetric, value: float | None) -> Measurement:
    """Hold when there is no value, or NaN; only a value can pass or roll back."""
    name = f"metric:{metric.name}"
    if value is None or value != value:
        reason = f"{metric.name} has no value: Prometheus does not answer, or the query finds nothing"
        return Measurement(name, "hold", reason, None, metric.limit)
    breached = value > metric.limit if metric.bad == "above" else value < metric.limit
    side = f"{metric.bad} the limit of" if breached else "within the limit of"
    reason = f"{metric.name} is {value:g}, {side} {metric.limit:g}"
    return Measurement(name, metric.on_breach if breached else "pass", reason, value, metric.limit)


def check_bake(inputs: JudgeInputs) -> Measurement:
    if inputs.bake_over:
        return Measurement("bake", "pass", "the step has lasted as long as its plan asks")
    return Measurement("bake", "unknown", "the step has not yet lasted as long as its plan asks")
