"""`python -m lab.benchmarks`: this service and its alternatives side by side, and the figures of its own."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is first imported

from lab.benchmarks import docs, latency, machine, model, others, plots, report, side_by_side, sira, tables
from lab.benchmarks.process import LOAD_CORE
from lab.benchmarks.profile import request
from lab.benchmarks.scale import catalogue
from lab.benchmarks.scale.room import Room
from lab.benchmarks.wrk import LoadFailed

DATA = Path(__file__).with_name(".data")
console = Console(stderr=True)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Two short rounds, under two minutes; the kept figures stay as they are.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this contender; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def main(context: click.Context, quick: bool, only: tuple[str, ...], as_json: bool) -> None:
    """Each contender on core 0, wrk on core 1, the same model and payloads, rounds interleaved.

    \b
    Example: python -m lab.benchmarks --quick --only sira --only fastapi_onnxruntime
    """
    _on_the_load_core()
    if context.invoked_subcommand is not None:
        return
    known = {contender.name: contender for contender in (*sira.contenders(), *others.contenders())}
    if unknown := sorted(set(only) - known.keys()):
        raise click.UsageError(f"no contender {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [contender for name, contender in known.items() if not only or name in only]
    plan = side_by_side.QUICK if quick else side_by_side.FULL
    workload = model.prepare(DATA)
    with _workplace() as folder, console.status("preparing") as status:
        outcomes = side_by_side.run(chosen, workload, plan, folder, status.update)
    _tell(outcomes, as_json)
    if not quick and not only:
        section = report.section(outcomes, plan) | _circumstances("make bench")
        _keep("side_by_side", section)
        plots.comparison(plots.COMPARISON, outcomes, _caption(section))
    if any(one.failed for one in outcomes):
        raise SystemExit(1)


@main.command("latency")
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0.1), help="How long.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def latency_command(minutes: float, as_json: bool) -> None:
    """The tail at 70 % of the limit: constant arrival rate, a promote in the middle.

    \b
    Example: python -m lab.benchmarks latency --minutes 1
    """
    workload = model.prepare(DATA)
    with _workplace() as folder, console.status("preparing") as status:
        found, recording = latency.run(workload, minutes, folder, status.update)
    section = asdict(found) | _circumstances(f"python -m lab.benchmarks latency --minutes {minutes:g}")
    if as_json:
        print(json.dumps(section, indent=1))
    else:
        print(latency.lines(found))
    _keep("latency", section)
    plots.latency(plots.LATENCY, found, recording, _caption(section))
    if found.failed:
        raise SystemExit(1)


@main.command("scale")
@click.option("--quick", is_flag=True, help="Smaller sizes, shorter runs; the kept figures stay as they are.")
@click.option("--only", multiple=True, type=click.Choice(list(catalogue.MEASUREMENTS)), help="May be given again.")
@click.option("--rows", type=click.IntRange(min=1), help="Predictions in the log: 20,000,000, or 200,000 with --quick.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def scale_command(quick: bool, only: tuple[str, ...], rows: int | None, as_json: bool) -> None:
    """How each part grows, measured at two or three sizes each.

    \b
    Example: python -m lab.benchmarks scale --quick --only tick
    """
    workload = model.prepare(DATA)
    size = rows or (200_000 if quick else 20_000_000)
    missed = False
    for name in only or catalogue.MEASUREMENTS:
        with _workplace() as folder, console.status(name) as status:
            found = catalogue.MEASUREMENTS[name](Room(folder, workload, quick, size, status.update))
        section = asdict(found) | _circumstances(f"python -m lab.benchmarks scale --only {name}")
        print(json.dumps({name: section}, indent=1) if as_json else tables.finding(found), flush=True)
        if not quick:
            _keep("scale", report.kept(report.RESULTS).get("scale", {}) | {name: section})
        missed |= found.missed
    raise SystemExit(1 if missed else 0)


@main.command("profile")
@click.option("--quick", is_flag=True, help="Shorter runs; the kept figures stay as they are.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def profile_command(quick: bool, as_json: bool) -> None:
    """Where the microseconds of one request go.

    \b
    Example: python -m lab.benchmarks profile --quick
    """
    workload = model.prepare(DATA)
    with _workplace() as folder, console.status("preparing") as status:
        found = request.measure(Room(folder, workload, quick, 0, status.update))
    section = asdict(found) | _circumstances("python -m lab.benchmarks profile")
    print(json.dumps(section, indent=1) if as_json else tables.profile(found))
    if not quick:
        _keep("profile", section)


@main.command("tables")
def tables_command() -> None:
    """Write the kept figures into README.md and docs/; every full run does it too."""
    docs.write(report.kept(report.RESULTS))


@main.command()
def lock() -> None:
    """Resolve every contender's requirements.in into its requirements.lock (needs uv)."""
    others.lock()


def _keep(section: str, content: Mapping[str, object]) -> None:
    report.merge(report.RESULTS, section, content)
    docs.write(report.kept(report.RESULTS))


def _circumstances(command: str) -> dict[str, Any]:
    described = machine.describe()
    when = datetime.now(UTC).date().isoformat()
    return {"date": when, "command": command, "machine": asdict(described), "on": str(described)}


def _caption(section: dict[str, Any]) -> str:
    return f"{section['on']}. {section['date']}. {section['command']}"


def _tell(outcomes: list[side_by_side.Outcome], as_json: bool) -> None:
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


def _on_the_load_core() -> None:
    """This process, wrk, Postgres and all else that is not a contender share core 1."""
    if (os.cpu_count() or 1) < 2:
        raise click.ClickException("two cores are needed: one for the contender, one for the load")
    os.sched_setaffinity(0, {LOAD_CORE})


@contextmanager
def _workplace() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sira-bench-"))
    folder.chmod(0o755)  # Postgres, which is not root, must reach its own folder below
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except LoadFailed as failure:
        raise SystemExit(str(failure)) from None
