"""`python -m registry`, run as an operator runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click
import jwt
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from registry.__main__ import registry
from runtime.postgres import connect
from tests.support.table_model import table_model

JWT_SECRET = "a-secret-of-more-than-thirty-two-characters"
ROOT = Path(__file__).resolve().parents[3]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Run:
    """Run a command in an empty folder; `without` takes a variable out of its environment."""

    def command(*words: str, without: str = "", exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database_url,
            "MODEL_BUCKET": f"file://{tmp_path / 'artifacts'}",
            "JWT_SECRET": JWT_SECRET,
        }
        environment.pop(without, None)
        done = subprocess.run(
            [sys.executable, "-m", "registry", *words], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == exit_code, done.stderr
        return done

    return command


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A model of two columns, V1 and Amount, without metadata."""
    x = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
    path = tmp_path / "ulb.onnx"
    path.write_bytes(to_onnx(LogisticRegression().fit(x, x[:, 0] > 0), x[:1]).SerializeToString())
    return str(path)


DETAILS = ("--product", "card_ulb", "--name", "ulb", "--features", "V1,Amount", "--review", "0.5", "--block", "0.9")


def test_a_version_is_registered_promoted_shown_and_its_history_verified(run: Run, file: str) -> None:
    registered = run("register", file, *DETAILS, "--version", "1", "--actor", "ops_john")
    assert "card_ulb/ulb/1 is registered as" in registered.stdout
    again = json.loads(run("register", file, *DETAILS, "--version", "1", "--json").stdout)
    assert again["created"] is False
    model_id = again["model"]["model_id"]

    promoted = run("promote", "card_ulb/ulb/1", "production", "--actor", "ops_jane", "--reason", "first model")
    assert promoted.stdout == "card_ulb/ulb/1 is production (was staging)\n"

    listed = json.loads(run("list", "--product", "card_ulb", "--json").stdout)
    assert listed["total"] == 1
    assert [(model["model_id"], model["status"]) for model in listed["models"]] == [(model_id, "production")]
    assert model_id in run("list").stdout

    shown = run("show", model_id).stdout
    for text in (
        "card_ulb/ulb/1",
        "V1",
        "Amount",
        "review from 0.5",
        "staging -> production",
        "ops_jane",
        "first model",
    ):
        assert text in shown
    history = json.loads(run("show", "card_ulb/ulb/1", "--json").stdout)["history"]
    assert [(row["actor"], row["action"]) for row in history] == [
        ("ops_jane", "model.status_changed"),
        ("ops_john", "model.registered"),
    ]
    assert run("audit", "verify").stdout == f"intact: 2 rows, head 2:{history[0]['sha256']}\n"


def test_an_audit_row_that_was_edited_makes_verify_fail(run: Run, file: str, database_url: str) -> None:
    run("register", file, *DETAILS, "--version", "1")
    with connect(database_url, name="tests") as connection:
        connection.execute("ALTER TABLE sira_audit_log DISABLE TRIGGER USER")
        connection.execute("UPDATE sira_audit_log SET actor = 'nobody'")
    printed = run("audit", "verify", exit_code=1)
    assert printed.stderr == "row 1 was edited: the contents of row 1 do not match its hash\n"
    assert json.loads(run("audit", "verify", "--json", exit_code=1).stdout)["kind"] == "edited"


def test_a_refusal_is_one_line_that_says_what_to_do(run: Run, file: str) -> None:
    refused = run("register", file, "--product", "card_ulb", "--name", "ulb", "--version", "1", exit_code=1)
    assert refused.stderr.count("\n") == 1
    assert "give the features, or put sira.features into the model" in refused.stderr
    assert run("promote", "card_ulb/ulb/9", "production", exit_code=1).stderr.startswith("registry: no model version")


def test_fields_are_made_nullable_given_defaults_and_renamed_as_the_model_is_registered(run: Run, file: str) -> None:
    described = (*DETAILS, "--version", "1", "--default", "Amount=12.5", "--default", "Volume 1=0", "--json")
    registered = run("register", file, *described, "--rename", "Volume 1=V1", "--nullable", "all")
    fields = json.loads(registered.stdout)["model"]["signature"]["fields"]
    assert [(field["name"], field["nullable"], field["default"]) for field in fields] == [
        ("Volume 1", True, 0.0),
        ("Amount", True, 12.5),
    ]
    assert "Volume 1" in run("show", "card_ulb/ulb/1").stdout
    refused = run("register", file, *DETAILS, "--version", "2", "--nullable", "V1,Amuont", exit_code=1)
    assert "nullable names Amuont, which the model does not take" in refused.stderr


def test_a_version_is_shown_with_the_fields_that_matter_to_it(run: Run, file: str, database_url: str) -> None:
    run("register", file, *DETAILS, "--version", "1")
    assert "which fields matter is not known yet" in run("show", "card_ulb/ulb/1").stdout
    with connect(database_url, name="tests") as connection:
        connection.execute(
            "INSERT INTO sira_model_importance (model_id, events, rows, background_sha256, method, scale, fields)"
            " SELECT model_id, 'traffic', 1000, '', 'linear', 'log_odds',"
            """ '[{"field": "Amount", "impact": 1.25}, {"field": "V1", "impact": 0.125}]' FROM siramodel_registry"""
        )
    shown = run("show", "card_ulb/ulb/1").stdout
    assert [line.split() for line in shown.splitlines() if "█" in line] == [
        ["Amount", "█" * 20, "1.25"],
        ["V1", "█" * 2, "0.125"],
    ]
    assert "mean absolute impact in log odds: 1,000 events of the traffic" in shown
    found = json.loads(run("show", "card_ulb/ulb/1", "--json").stdout)["importance"]
    assert found["traffic"]["fields"][0] == {"field": "Amount", "impact": 1.25}
    assert found["background"] is None


def test_reason_codes_are_read_from_a_file_and_shown(run: Run, file: str, tmp_path: Path) -> None:
    codes = tmp_path / "codes.yaml"
    codes.write_text("- {field: Amount, direction: raises, at_least: 9, code: R07, sentence: a high amount}\n")
    run("register", file, *DETAILS, "--version", "1", "--reason-codes", str(codes))
    assert "R07: a high amount (Amount raises from 9)" in run("show", "card_ulb/ulb/1").stdout
    codes.write_text("- {field: Amount, code: R07}\n")
    refused = run("register", file, *DETAILS, "--version", "2", "--reason-codes", str(codes), exit_code=1)
    assert "/0/sentence is missing" in refused.stderr


def test_rows_that_a_model_cannot_score_are_warned_about(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "table.onnx"
    path.write_bytes(table_model([0.1, 0.6]))
    registered = run("register", str(path), *DETAILS[:4], "--version", "1")
    assert "warning: the model raises an error for a large or negative number" in registered.stderr
    assert "raises an error for a large or negative number" in run("show", "card_ulb/ulb/1").stdout


def test_a_token_needs_no_database(run: Run) -> None:
    token = run("token", "--role", "ml_ops", "--subject", "ops_john", "--hours", "2", without="DATABASE_URL").stdout
    claims = jwt.decode(token.strip(), JWT_SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["roles"]) == ("ops_john", ["ml_ops"])
    assert claims["exp"] - claims["iat"] == timedelta(hours=2).total_seconds()


def test_a_missing_variable_is_named_with_the_file_that_sets_it(run: Run, tmp_path: Path) -> None:
    assert run("list", without="DATABASE_URL", exit_code=1).stderr == "registry: settings: DATABASE_URL is missing\n"
    (tmp_path / ".sira").mkdir()
    (tmp_path / ".sira" / "dev.env").touch()
    assert "set -a; source .sira/dev.env; set +a" in run("list", without="DATABASE_URL", exit_code=1).stderr


@pytest.mark.parametrize(
    "words",
    [
        ("register", __file__, *DETAILS, "--version", "1", "--default", "Amount"),
        ("register", __file__, *DETAILS, "--version", "1", "--rename", "=V1"),
        ("promote", "card_ulb/ulb/1", "retired"),
        ("register", "none.onnx"),
        ("audit", "verify", "--anchor", "1"),
    ],
)
def test_wrong_usage_ends_with_two(run: Run, words: tuple[str, ...]) -> None:
    assert "Usage: python -m registry" in run(*words, exit_code=2).stderr


def test_a_database_without_the_schema_says_how_to_make_it(run: Run, database_url: str) -> None:
    with connect(database_url, name="tests") as connection:
        connection.execute("DROP TABLE siramodel_registry CASCADE")
    assert "`python -m migrations up`" in run("list", exit_code=1).stderr


def test_every_command_has_an_example_and_speaks_json() -> None:
    def commands(group: click.Group) -> list[click.Command]:
        return [
            leaf
            for command in group.commands.values()
            for leaf in (commands(command) if isinstance(command, click.Group) else [command])
        ]

    for command in commands(registry):
        assert "python -m registry" in (command.epilog or ""), command.name
        assert any("--json" in option.opts for option in command.params), command.name


@pytest.fixture
def rows(tmp_path: Path, file: str) -> Callable[[float], str]:
    """Reference rows for the model of `file`, each expected score off by so much."""

    def write(off: float) -> str:
        x = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
        scores = LogisticRegression().fit(x, x[:, 0] > 0).predict_proba(x)[:, 1]
        path = tmp_path / "rows.csv"
        lines = [f"{one},{two},{score * (1 - off)}" for (one, two), score in zip(x.tolist(), scores, strict=True)]
        path.write_text("\n".join(["V1,Amount,p", *lines]))
        return str(path)

    return write


REFERENCE = ("--version", "1", "--score-column", "p", "--reference")


def test_reference_rows_are_checked_at_registration_and_again(
    run: Run, file: str, rows: Callable[[float], str]
) -> None:
    registered = run("register", file, *DETAILS, *REFERENCE, rows(0.0), "--json")
    model = json.loads(registered.stdout)["model"]
    assert model["reference"]["rows"] == 50
    assert "50 rows agreed within 0.0001" in run("show", model["model_id"]).stdout
    checked = json.loads(run("check", model["model_id"], "--json").stdout)["checks"]
    assert [(check["result"], check["rows"]) for check in checked] == [("passed", 50)]
    assert "passed" in run("check", model["model_id"]).stdout
    assert json.loads(run("check", "--all", "--json").stdout) == {"checks": []}
    run("promote", model["model_id"], "production")
    assert len(json.loads(run("check", "--all", "--json").stdout)["checks"]) == 1


def test_a_model_that_differs_from_its_reference_rows_is_refused_with_a_table(
    run: Run, file: str, rows: Callable[[float], str]
) -> None:
    refused = run("register", file, *DETAILS, *REFERENCE, rows(0.2), exit_code=1)
    assert "49 of 50 reference rows differ" in refused.stdout
    assert "no usual cause fits" in refused.stdout
    assert "not registered" in refused.stderr
    as_json = json.loads(run("register", file, *DETAILS, *REFERENCE, rows(0.2), "--json", exit_code=1).stdout)
    assert as_json["differences"]["differing"] == 49
    run("register", file, *DETAILS, *REFERENCE, rows(0.2), "--tolerance", "0.5")


def test_a_version_without_reference_rows_is_registered_with_a_warning(run: Run, file: str) -> None:
    registered = run("register", file, *DETAILS, "--version", "1")
    assert "has no reference rows" in registered.stderr
    assert "none: nothing shows" in run("show", "card_ulb/ulb/1").stdout
    assert "no reference" in run("check", "card_ulb/ulb/1").stdout


def test_reference_rows_can_be_required(
    run: Run, file: str, monkeypatch: pytest.MonkeyPatch, rows: Callable[[float], str]
) -> None:
    run("register", file, *DETAILS, "--version", "1", "--require-reference", exit_code=2)
    monkeypatch.setenv("REQUIRE_REFERENCE", "true")
    run("register", file, *DETAILS, "--version", "1", exit_code=2)
    run("register", file, *DETAILS, *REFERENCE, rows(0.0))


def test_check_takes_one_version_or_all(run: Run) -> None:
    run("check", exit_code=2)
    run("check", "card_ulb/ulb/1", "--all", exit_code=2)
