"""Sources against a real Prometheus, which scrapes itself, and a real Alertmanager."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from canary.controller.sources import TIMEOUT_SECONDS, Alert, Answers, Sources
from lab.ports import free_port

Make = Callable[..., Sources]


def until_ready(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(f"{url}/-/ready", timeout=2)
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not shutil.which("prometheus"):
        pytest.skip("Prometheus is not installed")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = folder / "prometheus.yml"
    config.write_text("global: {scrape_interval: 1s}\nscrape_configs: []\n")
    process = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    until_ready(url)
    yield url
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not shutil.which("prometheus-alertmanager"):
        pytest.skip("Alertmanager is not installed")
    folder, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    config = folder / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    process = subprocess.Popen(
        ["prometheus-alertmanager", f"--config.file={config}", f"--storage.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    until_ready(url)
    yield url
    process.terminate()
    process.wait(20)


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Sources] = []

    def sources(alertmanager_url: str | None = None, prometheus_url: str | None = None) -> Sources:
        made.append(Sources(alertmanager_url, prometheus_url))
        return made[-1]

    yield sources
    for one in made:
        one.close()


@pytest.fixture
def silence() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for connection in held:
            connection.close()


def post(url: str, path: str, body: object) -> None:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=5)


def alert(name: str, severity: str, service: str = "sira-inference", **labels: str) -> dict[str, object]:
    return {"labels": {"alertname": name, "severity": severity, "service": service, **labels}}


def test_each_query_returns_its_single_value(make: Make, prometheus: str) -> None:
    values = make(prometheus_url=prometheus).ask({"vector(2.5)", "7", "vector(0) - 1"}).values
    assert values == {"vector(2.5)": 2.5, "7": 7.0, "vector(0) - 1": -1.0}


@pytest.mark.parametrize(
    "query",
    [
        "no_such_metric",
        "vector(0) / 0",
        "vector(1) / 0",
        'label_replace(vector(1), "a", "1", "", "") or label_replace(vector(2), "a", "2", "", "")',
        "sum by (",
        "up[5m]",
    ],
)
def test_a_query_without_a_single_finite_value_has_no_value(make: Make, prometheus: str, query: str) -> None:
    assert make(prometheus_url=prometheus).ask({query}).values == {query: None}


def test_unreachable_sources_return_unknown(make: Make) -> None:
    assert make().ask({"up"}) == Answers(None, {"up": None})
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert make(nowhere, nowhere).ask({"up"}) == Answers(None, {"up": None})


def test_sources_that_never_answer_delay_a_tick_by_two_seconds_in_total(make: Make, silence: str) -> None:
    sources = make(silence, silence)
    began = time.monotonic()
    assert sources.ask({f"up{{n='{n}'}}" for n in range(20)}).critical_alerts is None
    assert time.monotonic() - began < TIMEOUT_SECONDS + 0.5


def test_only_our_critical_alerts_that_fire_and_are_not_silenced_are_returned(make: Make, alertmanager: str) -> None:
    sources = make(alertmanager_url=alertmanager)
    assert sources.ask([]).critical_alerts == ()
    now = datetime.now(UTC)
    ended = alert("Ended", "critical") | {"endsAt": (now - timedelta(minutes=1)).isoformat()}
    firing = [
        alert("Paged", "critical", product="card"), alert("Muted", "critical"), alert("Noted", "warning"),
        alert("Elsewhere", "critical", service="checkout"), ended,
    ]  # fmt: skip
    post(alertmanager, "/api/v2/alerts", firing)
    mute = {
        "matchers": [{"name": "alertname", "value": "Muted", "isRegex": False}],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(minutes=5)).isoformat(),
        "createdBy": "tests",
        "comment": "a drill",
    }
    post(alertmanager, "/api/v2/silences", mute)
    deadline = time.monotonic() + 10
    while sources.ask([]).critical_alerts != (Alert("Paged", "card"),):
        assert time.monotonic() < deadline, sources.ask([]).critical_alerts
        time.sleep(0.2)


def test_an_alert_concerns_the_product_it_names_or_every_product() -> None:
    answers = Answers((Alert("Burning", "card"), Alert("Down")))
    assert answers.alerts_about("card") == ("Burning", "Down")
    assert answers.alerts_about("loan") == ("Down",)
    assert Answers(None).alerts_about("card") is None
