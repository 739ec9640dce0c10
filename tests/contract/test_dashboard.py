"""The Grafana dashboard: the envelope the import API takes, Grafana's own types, and questions that have answers."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from runtime import metrics

GRAFANA = Path(__file__).parents[2] / "grafana"
ENVELOPE = json.loads((GRAFANA / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [p for p in ENVELOPE["dashboard"]["panels"] if p["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
METRICS = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
METRIC_NAMES = {family.name for metric in METRICS for family in metric.describe()}


@pytest.fixture(scope="session")
def type_check() -> list[str]:
    """The command that checks a dashboard file against Grafana's types; installs them on first use."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    if not (GRAFANA / "node_modules").is_dir():
        installed = subprocess.run(["npm", "ci", "--silent"], cwd=GRAFANA, capture_output=True, text=True)
        assert installed.returncode == 0, installed.stderr
    return ["node", str(GRAFANA / "check.mjs")]


def test_grafanas_own_types_fit(type_check: list[str]) -> None:
    checked = subprocess.run([*type_check, str(GRAFANA / "dashboard.json")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_the_type_check_names_every_misspelt_key(type_check: list[str], tmp_path: Path) -> None:
    text = (GRAFANA / "dashboard.json").read_text()
    for right, wrong in (
        ('"graphMode"', '"graphMod"'),
        ('"showPoints"', '"showPoint"'),
        ('"rowHeight"', '"rowheight"'),
    ):
        assert right in text
        text = text.replace(right, wrong, 1)
    (tmp_path / "misspelt.json").write_text(text)
    checked = subprocess.run([*type_check, str(tmp_path / "misspelt.json")], capture_output=True, text=True)
    assert checked.returncode == 1
    assert [word for word in ("graphMod", "showPoint", "rowheight") if f'"{word}"' not in checked.stderr] == []


def test_the_file_is_what_the_import_api_takes() -> None:
    assert ENVELOPE.keys() == {"dashboard", "overwrite"}
    assert ENVELOPE["overwrite"] is True
    assert ENVELOPE["dashboard"]["uid"] == "sira-inference"
    # A dashboard with an id of another Grafana is refused by this one.
    assert "id" not in ENVELOPE["dashboard"]


def test_product_and_pod_can_be_chosen() -> None:
    variables = {variable["name"]: variable for variable in ENVELOPE["dashboard"]["templating"]["list"]}
    assert list(variables) == ["datasource", "product", "pod"]
    for name in ("product", "pod"):
        assert variables[name]["includeAll"] is variables[name]["multi"] is True


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_every_query_asks_for_series_that_exist_and_heeds_a_variable(title: str, query: str) -> None:
    names = set(re.findall(r"\bsira_[a-z_]+", query))
    base_names = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in names}
    assert base_names
    assert base_names <= METRIC_NAMES
    assert "$product" in query or "$pod" in query


def test_every_panel_says_what_it_shows() -> None:
    assert [panel["title"] for panel in PANELS if not panel.get("description")] == []
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) == len(set(titles))


def test_every_panel_asks_the_chosen_data_source() -> None:
    asked = [panel["datasource"] for panel in PANELS]
    asked += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in asked)


def test_no_two_panels_overlap() -> None:
    ids = [panel["id"] for panel in ENVELOPE["dashboard"]["panels"]]
    assert len(ids) == len(set(ids))
    for one, other in combinations((panel["gridPos"] for panel in ENVELOPE["dashboard"]["panels"]), 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)


def test_the_latency_panel_draws_the_promise_of_30_ms() -> None:
    (panel,) = [panel for panel in PANELS if panel["title"] == "Latency of answers"]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] == 0.03
    assert [re.search(r"histogram_quantile\(([\d.]+)", t["expr"]).group(1) for t in panel["targets"]] == [
        "0.5",
        "0.95",
        "0.99",
    ]  # type: ignore[union-attr]
