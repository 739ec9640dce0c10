"""`python -m monitoring control-group` against a real database."""

import json
import os
import subprocess
import sys
from pathlib import Path

from runtime.postgres import Connection
from tests.support.rollouts import add_version

ROOT = Path(__file__).parents[3]


def monitoring(database_url: str, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "monitoring", "control-group", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def test_it_is_set_shown_and_switched_off_by_name(connection: Connection, database_url: str) -> None:
    add_version(connection, "cards", "1")
    refused = monitoring(database_url, "set", "cards", "--reason", "r")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "max_amount" in refused.stderr
    assert monitoring(database_url, "set", "other", "--max-amount", "5", "--reason", "r").returncode == 1
    assert monitoring(database_url, "set", "cards", "--share", "0.06", "--reason", "r").returncode == 2
    done = monitoring(
        database_url, "set", "cards", "--max-amount", "5", "--share", "0.01", "--reason", "r", "--actor", "ada"
    )
    assert done.stdout == "cards: 1.00% of blocks are answered review, at most 20 per day, each with amount up to 5\n"
    (shown,) = json.loads(monitoring(database_url, "show", "--json").stdout)["control_groups"]
    assert (shown["share"], shown["today"]["let_through"]) == (0.01, 0)
    assert "amount <= 5" in monitoring(database_url, "show", "cards").stdout
    unknown = monitoring(database_url, "show", "other")
    assert (unknown.returncode, unknown.stderr) == (1, "Error: other has never had a control group\n")
    assert monitoring(database_url, "off", "cards", "--reason", "done").stdout == "the control group of cards is off\n"
    actors = connection.execute("SELECT actor FROM sira_audit_log WHERE action = 'control_group.set' ORDER BY seq")
    assert actors.fetchall()[0] == ("ada",)
