import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from backtest.cli.commands import backtest
from runtime.postgres import connect
from runtime.reading import InputInvalid
from runtime.settings import Settings
from tests.support import backtested

ROOT = Path(__file__).parents[3]


@pytest.fixture
def model(database_url: str, settings: Callable[..., Settings]) -> str:
    made = settings()
    with connect(database_url, name="tests", autocommit=True) as connection:
        logged = backtested.add_log(connection, made.model_bucket, 600)
        backtested.label(connection, logged, range(600))
    return f"{backtested.PRODUCT}/gbm/2"


def test_the_tables_fit_80_columns_and_json_has_every_figure(model: str, tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    costs.write_text('{"fraud_allow": {"share_of_amount": 1}, "legitimate_block": {"per_event": 5}}')
    options = [model, "--days", "5", "--maturity-days", "0", "--segment", "merchant_category", "--cost", str(costs)]
    printed = CliRunner().invoke(backtest, [*options, "--processes", "1"])
    assert printed.exit_code == 0, printed.output
    assert max(map(len, printed.output.splitlines())) <= 80
    for text in ("replayed", "false positive rate", "Blind spot", "groceries", "cost:", "events/s"):
        assert text in printed.output
    as_json = CliRunner().invoke(backtest, [*options, "--processes", "2", "--json"])
    report = json.loads(as_json.output)
    assert report["events"] == 600
    assert report["model"]["label"] == model
    assert report["cost"]["before"] > 0


def test_the_page_opens_offline_and_has_every_part(model: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    options = [model, "--days", "5", "--maturity-days", "0", "--segment", "country", "--html", str(page)]
    assert CliRunner().invoke(backtest, [*options, "--processes", "1"]).exit_code == 0
    text = page.read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    for part in ("Decisions", "Quality on labels", "What is not known", "Calibration", "By country", "Flips"):
        assert part in text
    assert text.count("<polyline") == 4


def test_misspelt_fields_are_all_named(model: str) -> None:
    options = [model, "--days", "5", "--segment", "country_x", "--segment", "hour", "--amount-field", "amount2"]
    refused = CliRunner().invoke(backtest, options)
    assert isinstance(refused.exception, InputInvalid)
    assert str(refused.exception) == (
        "/segments/0: no event of cards has country_x; did you mean country?; "
        "/amount_field: no event of cards has amount2; did you mean amount?"
    )


def test_a_fault_of_an_option_is_one_line(model: str) -> None:
    words = [sys.executable, "-m", "backtest", model, "--segment", "country_x"]
    refused = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr.strip().startswith("backtest: /segments/0: no event of cards has country_x; did you mean")
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_cost_file_that_is_not_json_is_named(model: str, tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    costs.write_text("fraud_allow")
    refused = CliRunner().invoke(backtest, [model, "--cost", str(costs)])
    assert "is not a JSON file" in str(refused.exception)
