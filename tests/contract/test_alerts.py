"""The alerts: valid, tested by promtool to fire and to stay silent, explained, and delivered."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from runtime import metrics

MONITORING = Path(__file__).parents[2] / "k8s" / "monitoring"
PROMETHEUS_OWN_METRICS = {"up"}

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / name).read_text())["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = rules("alerts.yaml")
RECORDED = {rule["record"] for rule in rules("recording-rules.yaml")}
TESTS = [
    test
    for path in sorted((MONITORING / "tests").glob("*.test.yaml"))
    for test in yaml.safe_load(path.read_text())["tests"]
]


def expectations(alert: str) -> list[list[dict[str, Any]]]:
    """What promtool's tests expect of an alert: one list of firing alerts for each look."""
    return [look["exp_alerts"] for test in TESTS for look in test["alert_rule_test"] if look["alertname"] == alert]


def metric_names(expression: str) -> set[str]:
    without_labels = re.sub(r"\{[^}]*\}", "", expression)
    return set(re.findall(r"\b(?:sira|product)[a-z0-9_:]*|\bup\b", without_labels)) - {"product"}


def exposed_series() -> set[str]:
    """Every series name that a process of ours can expose."""
    families = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    names = set()
    for metric in families:
        (family,) = metric.describe()
        names |= {
            "counter": {f"{family.name}_total"},
            "histogram": {f"{family.name}_bucket", f"{family.name}_count", f"{family.name}_sum"},
            "gauge": {family.name},
        }[family.type]
    return names


@needs_promtool
def test_promtool_accepts_the_rules(rules_folder: Path) -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", "recording-rules.yaml", "alerts.yaml"],
        cwd=rules_folder, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


@needs_promtool
@pytest.mark.parametrize("tests", sorted(path.name for path in (MONITORING / "tests").glob("*.test.yaml")))
def test_the_alerts_fire_and_stay_silent_as_their_tests_say(rules_folder: Path, tests: str) -> None:
    tested = subprocess.run(["promtool", "test", "rules", tests], cwd=rules_folder, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_every_alert_has_a_test_that_it_fires_and_one_that_it_stays_silent(alert: dict[str, Any]) -> None:
    looks = expectations(alert["alert"])
    assert any(firing["exp_labels"]["severity"] == alert["labels"]["severity"] for look in looks for firing in look)
    assert [] in looks


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_every_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any], repository: Path) -> None:
    # The controller heeds alerts with this service alone (canary/sources.py).
    assert alert["labels"] == {"severity": alert["labels"]["severity"], "service": "sira-inference"}
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "runbook_url"}
    address, anchor = alert["annotations"]["runbook_url"].split("#")
    assert address.endswith("/docs/operations.md")
    headings = re.findall(r"^#+ (.+)$", (repository / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "rule", ALERTS + rules("recording-rules.yaml"), ids=lambda rule: rule.get("record", rule.get("alert"))
)
def test_every_rule_asks_only_for_series_that_exist(rule: dict[str, Any]) -> None:
    asked = metric_names(rule["expr"])
    assert asked
    assert asked <= exposed_series() | RECORDED | PROMETHEUS_OWN_METRICS


def test_every_recorded_series_is_used_by_an_alert_or_another_rule() -> None:
    asked = {name for rule in ALERTS + rules("recording-rules.yaml") for name in metric_names(rule["expr"])}
    assert asked >= RECORDED


def test_30_ms_is_an_edge_of_the_latency_histogram() -> None:
    assert 0.03 in metrics.LATENCY_EDGES
