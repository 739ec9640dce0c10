"""The commands as an operator types them: one process per command, on the test's database."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from canary.__main__ import canary as canary_group
from registry.audit import history
from runtime.postgres import Connection

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Canary

ROOT = Path(__file__).parents[3]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(database_url: str, tmp_path: Path) -> Command:
    """`command("show", "fraud_score")` runs `python -m canary show fraud_score` in an empty folder."""
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)}

    def run(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "canary", *words], cwd=tmp_path, env={**environment, **variables},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return run


def test_a_canary_from_its_start_to_its_stop(
    canary: "Canary", command: Command, connection: Connection, tmp_path: Path
) -> None:
    (tmp_path / "plan.json").write_text('{"steps": [{"percent": 10}, {"percent": 50, "gate": "manual"}]}')
    (tmp_path / "limits.json").write_text('{"psi": 0.2}')
    begun = command(
        "start", "fraud_score", "fraud_score/gradient/2", "0", "--plan", "plan.json", "--limits", "limits.json",
        "--actor", "ops_ana", "--reason", "the new features",
    )  # fmt: skip
    assert (begun.returncode, begun.stderr) == (0, "")
    assert (canary.now().limits.psi, len(canary.now().plan.steps), canary.now().created_by) == (0.2, 2, "ops_ana")
    started = history(connection, subject=canary.now().rollout_id)[0]
    assert (started.actor, started.reason) == ("ops_ana", "the new features")

    for words, percent, state in (
        (("set", "fraud_score", "10"), 10, "running"),
        (("pause", "fraud_score"), 10, "paused"),
        (("resume", "fraud_score"), 10, "running"),
        (("promote", "fraud_score"), 50, "running"),
        (("stop", "fraud_score"), 0, "stopped"),
        (("stop", "fraud_score"), 0, "stopped"),
    ):
        done = command(*words, "--json")
        assert done.returncode == 0, done.stderr
        assert (json.loads(done.stdout)["canary_percent"], json.loads(done.stdout)["state"]) == (percent, state)
    listed = json.loads(command("list", "--json").stdout)["rollouts"]
    assert [(one["product"], one["state"]) for one in listed] == [("fraud_score", "stopped")]


def test_the_terminal_output_shows_the_state_and_its_reasons(canary: "Canary", command: Command) -> None:
    assert "has had no canary yet" in command("show", "fraud_score").stdout
    canary.start()
    canary.run(60)
    shown = command("show", "fraud_score").stdout
    assert "10 %, step 1 of 1" in shown or "10 %, step 1 of 4" in shown
    assert "continue at " in shown
    assert "not yet shown to be under" in shown
    assert "fraud_score" in command("list").stdout


def test_stored_verdicts_are_verified_and_an_edited_one_is_named(
    canary: "Canary", command: Command, connection: Connection
) -> None:
    canary.start()
    canary.run(60)
    assert command("verify", "fraud_score").stdout == "12 verdicts follow from the stored evidence\n"
    connection.execute("UPDATE sira_canary_verdicts SET verdict = 'advance' WHERE tick = 12")
    broken = command("verify", "fraud_score", "--json")
    assert broken.returncode == 1
    assert json.loads(broken.stdout) == {"verdicts": 12, "differences": [{"tick": 12, "names": ["verdict"]}]}


def test_the_report_is_a_table_or_a_page(canary: "Canary", command: Command, tmp_path: Path) -> None:
    canary.start()
    canary.run(60)
    assert "production" in command("report", "fraud_score").stdout
    assert command("report", "fraud_score", "--html", "report.html").stdout == "wrote report.html\n"
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads(command("report", "fraud_score", "--json").stdout)["rollout"]["product"] == "fraud_score"


def test_a_file_of_labels_is_imported_whole_or_not_at_all(
    canary: "Canary", command: Command, connection: Connection, tmp_path: Path
) -> None:
    head = "product,event_id,label,source,labelled_at\n"
    rows = "".join(f"fraud_score,e{n},fraud,chargeback,2026-01-02T03:04:05Z\n" for n in range(12_000))
    (tmp_path / "labels.csv").write_text(head + rows)
    assert command("labels", "import", "labels.csv").stdout == "12,000 labels, 12,000 of them new\n"
    again = command("labels", "import", "labels.csv", "--json").stdout
    assert json.loads(again) == {"received": 12_000, "new": 0}

    (tmp_path / "wrong.csv").write_text(
        head + "fraud_score,x1,fraud,review,2026-01-02T03:04:05Z\nfraud_score,x2,?,r,now\n"
    )
    refused = command("labels", "import", "wrong.csv")
    assert refused.returncode == 1
    assert refused.stderr.startswith("canary: line 3, label: must be fraud or legitimate; line 3, lab")
    assert connection.execute("SELECT count(*) FROM sira_labels WHERE event_id LIKE 'x%'").fetchone() == (0,)


def test_errors_are_one_line_that_says_what_to_do(canary: "Canary", command: Command) -> None:
    for words, said in (
        ("show frod_score", "canary: no version of a product 'frod_score' is registered"),
        ("set fraud_score 10", "canary: no canary of fraud_score runs"),
        ("start fraud_score fraud_score/gradient/9 10", "canary: no model version fraud_score/gradient/9"),
        ("start fraud_score fraud_score/gradient/2 10 --plan fast", "canary: /plan: must be"),
    ):
        failed = command(*words.split())
        assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1), failed.stderr
        assert failed.stderr.startswith(said)
    assert command("show", "fraud_score", DATABASE_URL="").stderr.startswith("canary: settings: DATABASE_URL")
    assert command("start", "fraud_score", "fraud_score/gradient/2", "101").returncode == 2


@pytest.mark.parametrize("words", ["start", "set", "stop", "promote", "report", "labels import", "verify"])
def test_every_command_shows_an_example(words: str) -> None:
    assert f"python -m canary {words} " in CliRunner().invoke(canary_group, [*words.split(), "--help"]).output
