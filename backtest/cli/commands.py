"""The command `python -m backtest`."""

import json
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from backtest.cli.display import report_parts
from backtest.engines.spark import SparkEngine
from backtest.errors import BacktestError
from backtest.page.page import render_backtest
from backtest.request import DEFAULT_AMOUNT_FIELD, DEFAULT_DAYS, MAX_DAYS, BacktestToRun
from backtest.run import Engine, Finished, execute, local_engine, prepared
from runtime.command import as_json_option, console, database_connection, example, print_json, progress_bar
from runtime.reading import read
from runtime.settings import BacktestSettings

# Reading the labels of a month sorts them.
MAX_STATEMENT_MS = 600_000
_TERMINAL_WIDTH = 80


backtest_connection = partial(database_connection, "backtest", statement_timeout_ms=MAX_STATEMENT_MS)


@click.command(epilog=example("backtest fraud_score/gradient_boosting/2.0.0 --days 30 --segment country"))
@click.argument("model")
@click.option(
    "--days", type=click.IntRange(1, MAX_DAYS), default=DEFAULT_DAYS, show_default=True, help="Days to replay."
)
@click.option("--until", metavar="DAY", help="Last day (UTC), such as 2026-11-26.  [default: today]")
@click.option("--segment", "segments", multiple=True, metavar="FIELD", help="Figures for each value; may be repeated.")
@click.option("--cost", metavar="FILE", type=click.Path(exists=True, dir_okay=False), help="JSON file of costs.")
@click.option("--amount-field", default=DEFAULT_AMOUNT_FIELD, show_default=True, help="Payload field with the amount.")
@click.option(
    "--maturity-days",
    type=click.FloatRange(0, MAX_DAYS),
    help="Count the labels of events that are older.  [default: LABEL_MATURITY_DAYS]",
)
@click.option("--unlabelled-legitimate", is_flag=True, help="Take matured events without a label as legitimate.")
@click.option("--processes", type=click.IntRange(1, 256), help="Processes.  [default: one per core]")
@click.option(
    "--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True, help="What runs it."
)
@click.option("--master", default="local[*]", show_default=True, help="Spark's master, with --engine spark.")
@click.option("--html", type=click.Path(dir_okay=False, writable=True), help="Write the report as an HTML file too.")
@as_json_option
def backtest(
    model: str,
    days: int,
    until: str | None,
    segments: tuple[str, ...],
    cost: str | None,
    amount_field: str,
    maturity_days: float | None,
    unlabelled_legitimate: bool,
    processes: int | None,
    engine: str,
    master: str,
    html: str | None,
    as_json: bool,
) -> None:
    """Replay logged events with MODEL and compare with what was decided.

    MODEL is a model_id or PRODUCT/NAME/VERSION. Archived days are read from MODEL_BUCKET, others from Postgres.
    """
    body = {
        "model_id": model,
        "days": days,
        "until": until,
        "maturity_days": maturity_days,
        "unlabelled_are_legitimate": unlabelled_legitimate,
        "amount_field": amount_field,
        "segments": list(segments),
        "cost": _read_json(cost) if cost else None,
    }
    chosen = SparkEngine(master) if engine == "spark" else local_engine(processes or os.cpu_count() or 1)
    finished = _run(read(BacktestToRun, body), chosen, shown=not as_json)
    if html:
        Path(html).write_text(render_backtest(finished.report))
    if as_json:
        print_json(finished.report)
        return
    terminal = console()
    terminal.width = min(terminal.width, _TERMINAL_WIDTH) if terminal.is_terminal else _TERMINAL_WIDTH
    for part in report_parts(finished.report):
        terminal.print(part, highlight=False, markup=False)
    speed = finished.report.events / finished.seconds
    terminal.print(f"\nreplayed in {finished.seconds:.1f} s, {speed:,.0f} events/s", style="dim", highlight=False)


def _run(request: BacktestToRun, engine: Engine, *, shown: bool) -> Finished:
    settings = BacktestSettings.load()
    with (
        backtest_connection(settings=settings) as connection,
        prepared(
            connection,
            request,
            database_url=settings.database_url.get_secret_value(),
            model_bucket=settings.model_bucket,
            maturity_days=settings.label_maturity_days,
            now=datetime.now(UTC),
        ) as work,
        progress_bar("replaying", MofNCompleteColumn(), TimeRemainingColumn(), shown=shown) as update,
    ):
        connection.commit()  # the replay may take an hour
        update(total=work.rows)
        return execute(work, engine, lambda rows: update(advance=rows))


def _read_json(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise BacktestError(f"{path} is not a JSON file: {error}") from None
