"""When the alarms of a case are as they must be, and what of the metrics is an alarm."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from lab.benchmarks.monitoring.alarms import ON_HOLD, Alarm, firing
from lab.benchmarks.monitoring.cases import CASES
from lab.benchmarks.monitoring.outcome import Measured, Seen, rows

SILENT = Measured("healthy", "nothing", (), (), (), 600.0, 60_000, 0)
DRIFT = Seen("SiraFieldDrift", "amount: drift", 25.0)
NULLS = replace(SILENT, name="null_field", expected=("SiraFieldDrift",), seen=(DRIFT,))


def exposition(value: float) -> str:
    """What a process exposes when every metric of two products has this value."""
    registry = CollectorRegistry()
    field = Gauge("sira_field_alarm", "", ["product", "field", "alarm"], registry=registry)
    guard = Gauge("sira_decision_guard", "", ["product", "decision"], registry=registry)
    breaker = Gauge("sira_breaker_tripped", "", ["product"], registry=registry)
    verdict = Gauge("sira_canary_verdict", "", ["product", "verdict"], registry=registry)
    rollbacks = Counter("sira_canary_rollbacks", "", ["product", "reason"], registry=registry)
    for product in ("cards", "wallets"):
        for alarm in ("missing", "unseen", "drift"):
            field.labels(product, "amount", alarm).set(value)
        for decision in ("review", "block"):
            guard.labels(product, decision).set(value)
        breaker.labels(product).set(value)
        for kind in ("continue", "hold"):
            verdict.labels(product, kind).set(value)
        rollbacks.labels(product, "block_ratio").inc(value)
    return generate_latest(registry).decode()


def test_every_metric_that_an_alert_reads_is_an_alarm_of_its_product() -> None:
    assert firing(exposition(1.0), "cards") == {
        Alarm("SiraFieldMissing", "amount: missing"),
        Alarm("SiraFieldMissing", "amount: unseen"),
        Alarm("SiraFieldDrift", "amount: drift"),
        Alarm("SiraReviewRateJump", "review"),
        Alarm("SiraBlockRateJump", "block"),
        Alarm("SiraBreakerTripped", "block"),
        Alarm("SiraCanaryRolledBack", "block_ratio"),
        ON_HOLD,
    }


def test_what_is_zero_or_of_another_product_is_no_alarm() -> None:
    assert firing(exposition(0.0), "cards") == set()
    assert firing(exposition(1.0), "transfers") == set()


def test_every_alert_that_is_expected_or_seen_is_one_of_ours() -> None:
    rules = yaml.safe_load((Path(__file__).parents[4] / "k8s/monitoring/alerts.yaml").read_text())["spec"]["groups"]
    ours = {rule["alert"] for group in rules for rule in group["rules"]}
    expected = {alert for case in CASES for alert in case.expected}
    assert expected | {alarm.alert for alarm in firing(exposition(1.0), "cards")} <= ours


@pytest.mark.parametrize(
    ("measured", "reached"),
    [
        (SILENT, True),
        (replace(SILENT, seen=(DRIFT,)), False),
        (replace(SILENT, errors=1), False),
        (NULLS, True),
        (replace(NULLS, seen=()), False),
        (replace(NULLS, early=(DRIFT,)), False),
        (replace(NULLS, seen=(Seen("SiraFieldMissing", "amount: missing", 1.0),)), False),
    ],
)
def test_a_case_is_as_it_must_be_with_its_alarms_and_without_early_or_false_ones(
    measured: Measured, reached: bool
) -> None:
    assert measured.reached is reached
    assert rows([measured])[0][""] == ("as it must be" if reached else "NOT as it must be")


def test_silence_is_shown_with_its_duration() -> None:
    assert rows([SILENT])[0]["alarms, and seconds until each"] == "none in 600 s"
