"""`canary watch`, as an operator sees it: in a pipe, as JSON lines, and on a terminal of 80 columns."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from canary.rollout import operations
from canary.rollout.change import Change
from registry.model_version import Status
from registry.store import change_status
from runtime.postgres import Connection

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Canary

ROOT = Path(__file__).parents[3]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLUMNS = 80


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(ROOT), "TERM": "xterm"}


@contextmanager
def watching(environment: dict[str, str], *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "canary", "watch", "fraud_score", "--interval", "0.1", *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        yield run
        run.kill()


def on_a_terminal(environment: dict[str, str], *words: str) -> str:
    """Run a command on a terminal of 80 columns until it ends, and return what it wrote without escapes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    run = subprocess.Popen([sys.executable, "-m", *words], env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65_536):
            written += part
    except OSError:  # the terminal's last process has ended
        pass
    os.close(ours)
    run.wait(60)
    return ESCAPES.sub("", written.decode()).replace("\r", "\n")


def test_each_change_is_a_line_until_the_rollout_ends(
    canary: "Canary", connection: Connection, environment: dict[str, str]
) -> None:
    canary.start()
    with watching(environment) as run:
        assert run.stdout is not None
        assert "running, 10 %" in run.stdout.readline()
        with connection.transaction():
            operations.stop(connection, canary.product, Change("ops_ana"))
        assert "stopped, 0 %" in run.stdout.readline()
        assert run.wait(30) == 1


def test_a_promotion_ends_it_with_exit_code_0(
    canary: "Canary", connection: Connection, environment: dict[str, str]
) -> None:
    canary.start(100, plan={"steps": [{"percent": 100, "bake_seconds": 0}]})
    with watching(environment, "--json") as run:
        assert run.stdout is not None
        assert json.loads(run.stdout.readline())["state"] == "running"
        with connection.transaction():
            operations.next_step(connection, canary.product, Change("ops_ana", "it earned it"))
        assert json.loads(run.stdout.readline())["state"] == "promoted"
        assert run.wait(30) == 0


def test_a_terminal_of_80_columns_shows_the_plan_and_the_verdict(
    canary: "Canary", connection: Connection, environment: dict[str, str]
) -> None:
    canary.start()
    canary.run(60)
    with connection.transaction():
        operations.stop(connection, canary.product, Change("ops_ana"))
    shown = on_a_terminal(environment, "canary", "watch", "fraud_score")
    assert "fraud_score/gradient/2" in shown
    assert "measurement" in shown
    assert max(len(line) for line in shown.splitlines()) <= COLUMNS


@pytest.mark.parametrize(
    "words",
    [
        "canary list", "canary show fraud_score", "canary report fraud_score", "registry list", "migrations status",
        "registry audit list", "registry show fraud_score/gradient/2", "registry check", "sira --help",
    ],
)  # fmt: skip
def test_every_table_fits_a_terminal_of_80_columns_and_cuts_nothing(
    canary: "Canary", connection: Connection, environment: dict[str, str], words: str
) -> None:
    canary.start()
    canary.run(60)
    with connection.transaction():
        change_status(connection, canary.production.model_id, Status.PRODUCTION, actor="ops_ana", reason="why " * 30)
    shown = on_a_terminal(environment, *words.split())
    assert len(shown.splitlines()) > 3
    assert max(len(line) for line in shown.splitlines()) <= COLUMNS
    assert "…" not in shown
