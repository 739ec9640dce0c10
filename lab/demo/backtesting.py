"""The demo's backtest: the candidate on an archived day, asked for over HTTP, and its report in the terminal."""

import time

import msgspec
from rich.console import Console

from backtest.cli.display import report_parts
from backtest.figures.description import BacktestReport
from lab.demo.history import archive_closed_days, log_closed_day
from lab.demo.running import MakeRun
from lab.errors import LabError
from registry.artifacts import open_store
from registry.model_version import ModelVersion

EVENTS = 20_000
MAX_SECONDS = 90.0
# The condition of the plan of the rollout that follows.
GATE = {"required": True, "days": 1, "max_block_ratio": 1.5, "min_recall_ratio": 0.95}
_TERMINAL_WIDTH = 80


class BacktestFailed(LabError):
    """A backtest has no report."""


def show_backtest(
    run: MakeRun, console: Console, production: ModelVersion, candidate: ModelVersion, label: str
) -> None:
    """Log and archive a day of production, replay it with the candidate, print the report. Raises LabError."""
    operator, url, bucket = run.operator(), run.environment["DATABASE_URL"], run.environment["MODEL_BUCKET"]
    day = log_closed_day(url, operator, production, open_store(bucket), EVENTS, label)
    archived = archive_closed_days(url, bucket)
    console.print(
        f"{day:%A}'s log: {EVENTS:,} payments that production scored, with labels; {archived:,} rows archived."
    )
    asked = operator.post(
        "/v1/backtests",
        {
            "model_id": candidate.model_id,
            "days": 1,
            "until": f"{day:%Y-%m-%d}",
            "maturity_days": 0,
            "segments": ["merchant_category"],
        },
    )
    path = f"/v1/backtests/{asked['backtest_id']}"
    report = _await_report(run, path)
    for part in report_parts(report):
        console.print(part, highlight=False, markup=False, width=_TERMINAL_WIDTH)
    page = run.home / "backtest.html"
    page.write_text(operator.text(f"{path}?format=html"))
    console.print(f"\nThe same with its curves: {page} (and in the console, under Backtests)\n")


def _await_report(run: MakeRun, path: str) -> BacktestReport:
    deadline = time.monotonic() + MAX_SECONDS
    while (found := run.operator().get(path))["status"] != "done":
        if found["status"] == "failed" or time.monotonic() > deadline:
            raise BacktestFailed(f"the backtest is {found['status']}: {found['error'] or 'it takes too long'}")
        time.sleep(0.5)
    return msgspec.convert(found["report"], BacktestReport)
