"""The dashboard's queries and the rules, asked of a real Prometheus that scrapes the service while a canary runs."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.demo.running import MakeRun
from lab.ports import free_port
from tests.support.table_model import table_model

ROOT = Path(__file__).parents[2]
PRODUCT = "dashboard"
PANELS = [
    p
    for p in json.loads((ROOT / "grafana" / "dashboard.json").read_text())["dashboard"]["panels"]
    if p["type"] != "row"
]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
RULES = ("recording-rules.yaml", "alerts.yaml")
EVENTS = 3_000
SECONDS = 20.0
# So that the judge compares scores within these seconds.
LIMITS = {"paired_samples": 100}

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed")


def call(url: str, token: dict[str, str] | None = None, body: object = None) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, token or {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def canary(served: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeRun]:
    """A product of our own with a canary on half of its traffic."""
    folder, ml_ops = tmp_path_factory.mktemp("models"), served.bearer("ML_OPS_TOKEN")
    ids = []
    for version, shift in (("1", 0.0), ("2", 0.01)):
        model, reference = folder / f"{version}.onnx", folder / f"{version}.csv"
        scores = [n / 120 + shift for n in range(100)]
        model.write_bytes(table_model(scores))
        # The background of reasons: without it, none is given within these seconds.
        reference.write_text("amount,score\n" + "".join(f"{n},{score}\n" for n, score in enumerate(scores)))
        ids.append(register(served, model, reference, version))
    call(f"{served.url}/v1/models/{ids[0]}/promote", ml_ops, {"target": "production"})
    start = {"product": PRODUCT, "canary_model_id": ids[1], "canary_percent": 50, "limits": LIMITS}
    call(f"{served.url}/v1/canary", ml_ops, start)
    yield served
    call(f"{served.url}/v1/canary/{PRODUCT}/stop", ml_ops, {})


def register(served: MakeRun, model: Path, reference: Path, version: str) -> str:
    form = {"product": PRODUCT, "name": "table", "version": version, "file": f"@{model}", "reference": f"@{reference}"}
    parts = [part for name, value in form.items() for part in ("-F", f"{name}={value}")]
    signed = ["-H", f"Authorization: {served.bearer('ML_OPS_TOKEN')['Authorization']}"]
    posted = subprocess.run(
        ["curl", "-sS", f"{served.url}/v1/models", *signed, *parts], capture_output=True, text=True, check=True
    )
    return str(json.loads(posted.stdout)["model_id"])


@pytest.fixture(scope="module")
def prometheus(canary: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Scrapes both processes every second, with the labels that the ServiceMonitor gives, and knows our rules."""
    folder = tmp_path_factory.mktemp("prometheus")
    for name in RULES:
        rule = yaml.safe_load((ROOT / "k8s" / "monitoring" / name).read_text())
        (folder / name).write_text(yaml.safe_dump(rule["spec"]))
    targets = {"sira-inference": canary.port, "sira-controller": canary.control_port}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": list(RULES),
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"pod": f"{job}-0"}}]}
            for job, port in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = subprocess.Popen(
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}"],
        stderr=(folder / "log").open("w"),
    )  # fmt: skip
    try:
        traffic(canary)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def traffic(served: MakeRun) -> None:
    """Events spread over SECONDS. Every fifth payload comes again: the model has work, and the cache hits."""
    ended, number, token = time.monotonic() + SECONDS, 0, served.bearer()
    while time.monotonic() < ended:
        events = []
        for n in range(number, number + 100):
            amount = n % 100 if n % 5 == 0 else n % 100 + n / 2**20
            events.append({"event_id": f"d{n}", "product": PRODUCT, "payload": {"amount": amount}})
        call(f"{served.url}/v1/infer/batch", token, {"events": events})
        number += len(events)
        time.sleep(SECONDS * len(events) / EVENTS)


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    asked = prometheus + "/api/v1/query?" + urllib.parse.urlencode({"query": query})
    result = call(asked)["data"]["result"]
    assert isinstance(result, list)
    return result


def as_grafana_asks(query: str) -> str:
    for name, value in (("$product", PRODUCT), ("$pod", ".*"), ("$__rate_interval", "2m"), ("$__range", "1h")):
        query = query.replace(name, value)
    assert "$" not in query
    return query


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[f"{title}-{n}" for n, (title, _) in enumerate(QUERIES)])
def test_every_query_of_the_dashboard_returns_data(prometheus: str, title: str, query: str) -> None:
    series = ask(prometheus, as_grafana_asks(query))
    assert series
    assert not any(one["value"][1] == "NaN" for one in series)


def test_both_arms_are_drawn(prometheus: str) -> None:
    (latency,) = [query for title, query in QUERIES if title == "Latency of answers" and "0.95" in query]
    assert {one["metric"]["variant"] for one in ask(prometheus, as_grafana_asks(latency))} == {"production", "canary"}


def test_the_drop_down_lists_have_entries(prometheus: str) -> None:
    variables = json.loads((ROOT / "grafana" / "dashboard.json").read_text())["dashboard"]["templating"]["list"]
    for variable in variables[1:]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
        assert [one["metric"][label] for one in ask(prometheus, f"count by ({label}) ({metric})")]


def test_every_rule_is_evaluated_without_an_error(prometheus: str) -> None:
    groups = call(f"{prometheus}/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 25
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []


def test_a_healthy_service_raises_no_alert(prometheus: str) -> None:
    alerts = call(f"{prometheus}/api/v1/alerts")["data"]["alerts"]
    firing = [alert["labels"] for alert in alerts if alert["state"] == "firing"]
    # Other tests use the same processes, with products of their own that may be unwell.
    assert [labels for labels in firing if labels.get("product", PRODUCT) == PRODUCT] == []
