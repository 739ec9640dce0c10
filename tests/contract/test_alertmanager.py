"""Notifications: Alertmanager's configuration, checked by its own tool, and what it really sends."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

CONFIG = Path(__file__).parents[2] / "k8s" / "monitoring" / "alertmanager.yaml"
SECRETS = "/etc/alertmanager/secrets/sira-alerting"
RUNBOOK_URL = "https://git.molam.com/sira-inference/blob/main/docs/operations.md#siradown"

pytestmark = pytest.mark.skipif(
    not (shutil.which("amtool") and shutil.which("prometheus-alertmanager")), reason="Alertmanager is not installed"
)


class Sink(ThreadingHTTPServer):
    """Takes what Alertmanager sends to Slack and PagerDuty, and keeps it by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Sunk)
        self.received: list[tuple[str, dict[str, Any]]] = []

    def payloads(self, path: str) -> list[dict[str, Any]]:
        return [payload for received_path, payload in self.received if received_path == path]


class _Sunk(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((self.path, payload))
        # PagerDuty's events API answers 202, Slack 200; each takes any 2xx of the other.
        self.send_response(202 if self.path == "/pagerduty" else 200)
        self.end_headers()
        self.wfile.write(b'{"ok": true, "status": "success"}')

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    server = Sink()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def alertmanager(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The repository's config, its two destinations at the sink and its grouping delays cut, served for real."""
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "slack-webhook-url").write_text(f"http://127.0.0.1:{sink.server_port}/slack")
    (folder / "pagerduty-routing-key").write_text("0123456789abcdef0123456789abcdef")
    config = yaml.safe_load(CONFIG.read_text().replace(SECRETS, str(folder)))
    config["global"]["pagerduty_url"] = f"http://127.0.0.1:{sink.server_port}/pagerduty"
    config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = subprocess.Popen(
        ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yaml", f"--storage.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        stderr=(folder / "log").open("w"),
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(f"{address}/-/ready"))
        yield address
    finally:
        process.terminate()
        process.wait(timeout=10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def fire(alertmanager: str, severity: str, product: str) -> None:
    alert = {
        "labels": {"alertname": "SiraTried", "severity": severity, "product": product, "pod": "a"},
        "annotations": {"summary": f"{product} is tried", "runbook_url": RUNBOOK_URL},
    }
    request = urllib.request.Request(
        f"{alertmanager}/api/v2/alerts", json.dumps([alert]).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


def about(payloads: list[dict[str, Any]], product: str) -> list[dict[str, Any]]:
    return [payload for payload in payloads if f"{product} is tried" in json.dumps(payload)]


def test_amtool_accepts_the_config(tmp_path: Path) -> None:
    checked = subprocess.run(["amtool", "check-config", str(CONFIG)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(("severity", "receivers"), [("critical", "pagerduty,slack"), ("warning", "slack")])
def test_amtool_routes_critical_to_both_and_warnings_to_slack(severity: str, receivers: str) -> None:
    routed = subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receivers}",
         "alertname=SiraDown", f"severity={severity}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert routed.returncode == 0, routed.stdout + routed.stderr
    assert routed.stdout.strip() == receivers


def test_a_critical_alert_reaches_pagerduty_and_slack(alertmanager: str, sink: Sink) -> None:
    fire(alertmanager, "critical", "card")
    wait_for(lambda: bool(about(sink.payloads("/slack"), "card") and about(sink.payloads("/pagerduty"), "card")))
    (page,) = about(sink.payloads("/pagerduty"), "card")
    assert page["event_action"] == "trigger"
    assert page["payload"]["severity"] == "critical"
    assert page["payload"]["summary"] == "SiraTried: card is tried"
    assert page["payload"]["component"] == "sira-inference"
    assert page["links"] == [{"href": RUNBOOK_URL, "text": "What to do"}]
    (message,) = about(sink.payloads("/slack"), "card")
    assert message["channel"] == "#sira-alerts"
    (attachment,) = message["attachments"]
    assert attachment["title"] == "[FIRING] SiraTried"
    assert attachment["title_link"] == RUNBOOK_URL
    assert attachment["text"] == "card is tried\n"
    assert attachment["color"] == "danger"


def test_a_warning_reaches_slack_only(alertmanager: str, sink: Sink) -> None:
    fire(alertmanager, "warning", "loan")
    wait_for(lambda: bool(about(sink.payloads("/slack"), "loan")))
    (message,) = about(sink.payloads("/slack"), "loan")
    assert message["attachments"][0]["color"] == "warning"
    assert about(sink.payloads("/pagerduty"), "loan") == []


def test_a_warning_adds_nothing_to_its_own_critical_alert(alertmanager: str, sink: Sink) -> None:
    fire(alertmanager, "critical", "rent")
    wait_for(lambda: bool(about(sink.payloads("/slack"), "rent")))
    fire(alertmanager, "warning", "rent")
    time.sleep(2.5)  # more than two group intervals: what was to be sent has been
    assert len(about(sink.payloads("/slack"), "rent")) == 1
