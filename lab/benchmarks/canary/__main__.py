"""`python -m lab.benchmarks.canary`: the figures of the canary judge, compared with the usual methods."""

import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from math import isfinite

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from lab.benchmarks import documents
from lab.benchmarks.canary.figures import CASES, FULL, QUICK, Baseline, Figure, Size, run_baselines


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--quick", is_flag=True, help="Simulate fewer and shorter rollouts, half a minute, and keep the stored results."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def main(quick: bool, as_json: bool) -> None:
    """Simulate rollouts through the judge's own code. Exit status 1 if a figure is missed.

    200 requests/s, 10 % canary, a tick every 5 s, 0.3 % errors, lognormal latency (median 12 ms, sigma 0.45).
    Delays count from the start at 10 % to the end of the bucket that decided; sealing it and the next tick add
    5 to 10 s. The seed is fixed: every run returns the same figures.

    \b
    Example: python -m lab.benchmarks.canary --quick
    """
    began = time.monotonic()
    size = QUICK if quick else FULL
    figures = _measure(size)
    baselines = list(run_baselines(size))
    content = _content(figures, baselines, size, time.monotonic() - began)
    if as_json:
        print(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        _print(figures, baselines, time.monotonic() - began)
    if not quick:
        documents.JUDGE_RESULTS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        documents.write_judging(content)
    sys.exit(0 if all(figure.reached for figure in figures) else 1)


def _measure(size: Size) -> list[Figure]:
    label, share = TextColumn("{task.description:36}"), TextColumn("{task.percentage:3.0f} %")
    figures: list[Figure] = []
    with Progress(label, BarColumn(), share, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        for case in CASES:
            bar = bars.add_task(case.name, total=1.0)
            figures += case.run(size, partial(_update, bars, bar))
    return figures


def _update(bars: Progress, bar: TaskID, done: float) -> None:
    bars.update(bar, completed=done)


def _content(figures: list[Figure], baselines: list[Baseline], size: Size, seconds: float) -> dict[str, object]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": "make bench-canary",
        "seconds": round(seconds),
        "size": asdict(size),
        "figures": [asdict(figure) | {"reached": figure.reached} for figure in figures],
        "baselines": [_finite(asdict(baseline)) for baseline in baselines],
    }


def _finite(fields: dict[str, object]) -> dict[str, object]:
    """Replace infinity, which JSON lacks and which means that a delay never ended, by null."""
    return {name: value if not isinstance(value, float) or isfinite(value) else None for name, value in fields.items()}


def _print(figures: list[Figure], baselines: list[Baseline], seconds: float) -> None:
    # Markdown, wide enough not to wrap: the tables are copied into documents unchanged.
    console = Console(width=140)
    judge = Table("case", "figure", box=box.MARKDOWN)
    for column in ("measured", "at most"):
        judge.add_column(column, justify="right")
    judge.add_column("")
    for figure in figures:
        mark = "reached" if figure.reached else "MISSED"
        judge.add_row(figure.case, figure.what, f"{figure.measured:,.4g}", f"{figure.limit:,g}", mark)
    usual = Table("the usual methods, on the same traffic", box=box.MARKDOWN)
    for column in ("healthy canaries rolled back", "median seconds to 2x errors"):
        usual.add_column(column, justify="right")
    for baseline in baselines:
        usual.add_row(baseline.method, f"{baseline.false_rollbacks:.0%}", f"{baseline.seconds:,.0f}")
    console.print(judge, usual, f"{seconds:.0f} s")


if __name__ == "__main__":
    main()
