"""`python -m controller` as processes: one of two judges, the other takes over, and both stop on request."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.ports import free_port
from runtime.postgres import Connection, connect
from runtime.settings import Settings

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Canary

ROOT = Path(__file__).parents[3]


@pytest.fixture
def start(settings: Callable[..., Settings], tmp_path: Path) -> Iterator[Callable[..., "Controller"]]:
    """`start()` starts a controller on the test's database, in the environment that `settings` has set."""
    started: list[Controller] = []

    def start_one(**overrides: object) -> Controller:
        port = free_port()
        settings(control_port=port, **overrides)
        log = (tmp_path / f"{port}.log").open("w")
        process = subprocess.Popen([sys.executable, "-m", "controller"], cwd=ROOT, stderr=log, env=dict(os.environ))
        started.append(Controller(process, port))
        return started[-1]

    yield start_one
    for controller in started:
        controller.process.kill()
        controller.process.wait(10)


class Controller:
    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.port = port

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def ready(self) -> bool:
        try:
            return '"ready":true' in self.get("/readyz")
        except OSError:
            return False


def until(met: Callable[[], object], seconds: float) -> float:
    """Return the seconds that it took."""
    began = time.monotonic()
    while not met():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - began


def ticks(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM sira_canary_verdicts").fetchone()
    assert row
    return int(row[0])


def test_the_second_controller_judges_within_fifteen_seconds_of_the_first_ones_death(
    canary: "Canary", connection: Connection, start: Callable[..., Controller]
) -> None:
    canary.start()
    first = start()
    until(lambda: ticks(connection) > 0, 20)
    second = start()
    until(second.ready, 20)
    assert 'sira_canary_verdict{product="fraud_score",verdict="hold"} 1.0' in first.get("/metrics")
    assert 'sira_canary_verdict{product="fraud_score",verdict="hold"} 1.0' not in second.get("/metrics")
    seen = ticks(connection)
    first.process.kill()
    assert until(lambda: ticks(connection) > seen, 15) < 15
    until(lambda: 'sira_canary_verdict{product="fraud_score",verdict="hold"} 1.0' in second.get("/metrics"), 2)


def test_an_open_fuse_wakes_the_controller_between_two_ticks(
    canary: "Canary", connection: Connection, start: Callable[..., Controller], database_url: str
) -> None:
    rollout_id = canary.start().rollout_id
    controller = start(canary_tick_seconds=600)
    until(controller.ready, 20)
    time.sleep(1.5)  # until it listens
    with connect(database_url, name="shipper", autocommit=True) as shipper:
        shipper.execute(
            "INSERT INTO sira_canary_fuse_trips VALUES (%s, 'pod-1/7', clock_timestamp(), 4, 4, false)", (rollout_id,)
        )
    assert until(lambda: canary.now().status == "rolled_back", 3) < 3
    assert 'sira_canary_rollbacks_total{product="fraud_score",reason="fuse"} 1.0' in controller.get("/metrics")


def test_it_stops_cleanly_when_asked(canary: "Canary", start: Callable[..., Controller]) -> None:
    controller = start()
    until(controller.ready, 20)
    controller.process.send_signal(signal.SIGTERM)
    assert controller.process.wait(10) == 0


def test_a_wrong_setting_or_a_port_in_use_ends_it_with_one_line(settings: Callable[..., Settings]) -> None:
    import socket

    def ended(**environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "controller"], cwd=ROOT, env={**os.environ, **environment}, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1
        return done.stderr.strip()

    settings()
    assert ended(JWT_SECRET="short") == (
        "controller: settings: JWT_SECRET is shorter than 32 bytes: make one with `openssl rand -base64 32`"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = ended(CONTROL_PORT=str(taken.getsockname()[1]))
    assert said.startswith("controller: CONTROL_PORT ")
    assert "\n" not in said
