"""`python -m lab.benchmarks`: this service and its alternatives side by side, and its own figures."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is first imported

from lab.benchmarks import (
    documents,
    latency,
    machine,
    model,
    others,
    plots,
    reasons,
    report,
    side_by_side,
    sira,
    tables,
)
from lab.benchmarks.backtests import measure as backtests
from lab.benchmarks.contender import LOAD_CORE
from lab.benchmarks.profile import batch, request
from lab.benchmarks.scale import catalogue
from lab.benchmarks.scale.workspace import Workspace
from lab.errors import LabError

DATA = Path(__file__).with_name(".data")
DEFAULT_LOG_ROWS, QUICK_LOG_ROWS = 20_000_000, 200_000
console = Console(stderr=True)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Run two short rounds, under two minutes, and keep the stored figures.")
@click.option("--only", multiple=True, metavar="NAME", help="Run only this contender; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def main(context: click.Context, quick: bool, only: tuple[str, ...], as_json: bool) -> None:
    """Compare the contenders: each on core 0, wrk on core 1, the same model and payloads, rounds interleaved.

    \b
    Example: python -m lab.benchmarks --quick --only sira --only fastapi_onnxruntime
    """
    _use_load_core()
    if context.invoked_subcommand is not None:
        return
    known = {contender.name: contender for contender in (*sira.contenders(), *others.contenders())}
    if unknown := sorted(set(only) - known.keys()):
        raise click.UsageError(f"no contender {', '.join(unknown)}; the contenders are {', '.join(known)}")
    chosen = [contender for name, contender in known.items() if not only or name in only]
    plan = side_by_side.QUICK if quick else side_by_side.FULL
    workload = model.prepare(DATA)
    with _workspace_folder() as folder, console.status("preparing") as status:
        outcomes = side_by_side.run(chosen, workload, plan, folder, status.update)
    _print(outcomes, as_json)
    if not quick and not only:
        section = report.section(outcomes, plan) | machine.conditions("make bench")
        documents.store("side_by_side", section)
        plots.comparison(plots.COMPARISON, outcomes, _caption(section))
    if any(one.failed for one in outcomes):
        raise SystemExit(1)


@main.command("latency")
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0.1), help="Duration.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def latency_command(minutes: float, as_json: bool) -> None:
    """Measure the tail latency at 70 % of the limit: constant arrival rate, a promotion in the middle.

    \b
    Example: python -m lab.benchmarks latency --minutes 1
    """
    workload = model.prepare(DATA)
    with _workspace_folder() as folder, console.status("preparing") as status:
        found, recording = latency.run(workload, minutes, folder, status.update)
    section = asdict(found) | machine.conditions(f"python -m lab.benchmarks latency --minutes {minutes:g}")
    if as_json:
        print(json.dumps(section, indent=1))
    else:
        print(latency.lines(found))
    documents.store("latency", section)
    plots.latency(plots.LATENCY, found, recording, _caption(section))
    if found.failed:
        raise SystemExit(1)


@main.command("scale")
@click.option("--quick", is_flag=True, help="Use smaller sizes and shorter runs, and keep the stored figures.")
@click.option("--only", multiple=True, type=click.Choice(list(catalogue.MEASUREMENTS)), help="May be repeated.")
@click.option("--rows", type=click.IntRange(min=1), help="Predictions in the log: 20,000,000, or 200,000 with --quick.")
@click.option(
    "--log",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Keep the console's log in this folder, and use it again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def scale_command(quick: bool, only: tuple[str, ...], rows: int | None, log: Path | None, as_json: bool) -> None:
    """Measure how each part grows, at two or three sizes each.

    \b
    Example: python -m lab.benchmarks scale --quick --only tick
    """
    workload = model.prepare(DATA)
    size = rows or (QUICK_LOG_ROWS if quick else DEFAULT_LOG_ROWS)
    words = f" --rows {rows}" if rows else ""
    missed = False
    for name in only or catalogue.MEASUREMENTS:
        with _workspace_folder() as folder, console.status(name) as status:
            found = catalogue.MEASUREMENTS[name](Workspace(folder, workload, quick, size, status.update, log))
        section = asdict(found) | machine.conditions(f"python -m lab.benchmarks scale --only {name}{words}")
        print(json.dumps({name: section}, indent=1) if as_json else tables.finding(found), flush=True)
        if not quick:
            documents.store("scale", report.kept(report.RESULTS).get("scale", {}) | {name: section})
        missed |= found.missed
    raise SystemExit(1 if missed else 0)


@main.command("profile")
@click.option("--quick", is_flag=True, help="Use shorter runs, and keep the stored figures.")
@click.option("--only", type=click.Choice(["request", "batch"]), help="Profile one of the two.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def profile_command(quick: bool, only: str | None, as_json: bool) -> None:
    """Profile one request, and one event of a batch: CPU time by thread and by step.

    \b
    Example: python -m lab.benchmarks profile --quick --only batch
    """
    workload = model.prepare(DATA)
    for name in (only,) if only else ("request", "batch"):
        with _workspace_folder() as folder, console.status("preparing") as status:
            workspace = Workspace(folder, workload, quick, 0, status.update)
            found = request.measure(workspace) if name == "request" else batch.measure(workspace)
        section = asdict(found) | machine.conditions(f"python -m lab.benchmarks profile --only {name}")
        print(json.dumps(section, indent=1) if as_json else tables.profile(found))
        if not quick:
            documents.store("profile" if name == "request" else "batch_profile", section)


@main.command("reasons")
@click.option("--quick", is_flag=True, help="Measure 300 trees of 31 leaves only, and keep the stored figures.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def reasons_command(quick: bool, rounds: int, as_json: bool) -> None:
    """Measure the cost of an exact explanation, with shap beside it.

    \b
    Example: python -m lab.benchmarks reasons --quick
    """
    shapes = reasons.QUICK_SHAPES if quick else reasons.SHAPES
    measured = reasons.figures(shapes, rounds)
    found = list(track(measured, description="measuring", total=len(shapes), console=console))
    section = {"figures": [asdict(one) for one in found], "rounds": rounds} | machine.conditions("make bench-reasons")
    print(json.dumps(section, indent=1) if as_json else tables.table(reasons.rows(found)))
    missed = [goal for one in found for goal in one.missed()]
    for goal in missed:
        console.print(f"MISSED: {goal}")
    if not quick:
        documents.store("reasons", section)
    raise SystemExit(1 if missed else 0)


@main.command("backtest")
@click.option("--quick", is_flag=True, help="Use smaller days, and keep the stored figures.")
@click.option("--events", type=click.IntRange(min=1), help="Replay this many events once, instead: 20,000,000, say.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def backtest_command(quick: bool, events: int | None, as_json: bool) -> None:
    """Measure the archive, backtests and training sets, with pandas and onnxruntime beside them.

    \b
    Example: python -m lab.benchmarks backtest --quick
    """
    workload = model.prepare(DATA)
    words = f" --events {events}" if events else ""
    conditions = machine.conditions(f"python -m lab.benchmarks backtest{words}")
    missed = False
    with _workspace_folder() as folder, console.status("preparing") as status:
        workspace = Workspace(folder, workload, quick, 0, status.update)
        for name, found in backtests.measure_many(workspace, events) if events else backtests.measure(workspace):
            section = asdict(found) | conditions
            print(json.dumps({name: section}, indent=1) if as_json else tables.finding(found), flush=True)
            if not quick:
                documents.store("backtest", report.kept(report.RESULTS).get("backtest", {}) | {name: section})
            missed |= found.missed
    raise SystemExit(1 if missed else 0)


@main.command("tables")
def tables_command() -> None:
    """Write the stored figures into README.md and docs/; every full run does so too."""
    documents.write(report.kept(report.RESULTS))
    documents.write_judging(report.kept(documents.JUDGE_RESULTS))


@main.command()
def lock() -> None:
    """Resolve every contender's requirements.in into its requirements.lock (needs uv)."""
    others.lock_all()


def _caption(section: dict[str, Any]) -> str:
    return f"{section['on']}. {section['date']}. {section['command']}"


def _print(outcomes: list[side_by_side.Outcome], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(one) for one in outcomes], indent=1))
        return
    print(report.markdown(outcomes))
    for goal in report.goals(outcomes):
        sign = "<=" if goal.at_most else ">="
        print(f"{'reached' if goal.reached else 'MISSED':8}{goal.what}: {goal.got:,.2f} ({sign} {goal.wanted:,g})")
    for remark in report.remarks(outcomes):
        print(f"note: {remark}")
    for one in outcomes:
        if one.failed is not None:
            console.print(f"{one.name} failed: {one.failed}", markup=False)


def _use_load_core() -> None:
    """Move this process to core 1, which wrk, Postgres and everything else but the contender share."""
    if (os.cpu_count() or 1) < 2:
        raise click.ClickException("two cores are needed: one for the contender and one for the load")
    os.sched_setaffinity(0, {LOAD_CORE})


@contextmanager
def _workspace_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sira-bench-"))
    folder.chmod(0o755)  # Postgres, which does not run as root, must reach its folder inside
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except LabError as failure:
        raise SystemExit(str(failure)) from None
