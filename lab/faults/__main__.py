"""`python -m lab.faults`: run the scenarios, print the table, exit 1 if an answer was lost, duplicated or wrong."""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lab.background import Background
from lab.faults import artifacts, canaries, database, deaths, drain, long_run, machine, overload, report
from lab.faults.models import make_models
from lab.faults.object_store import ObjectStore
from lab.faults.scenario import Outcome, Scenario, ScenarioRun, outcome_of

FAMILIES = (deaths, database, artifacts, machine, canaries, drain, overload, long_run)
SCENARIOS: tuple[Scenario, ...] = tuple(scenario for family in FAMILIES for scenario in family.SCENARIOS)
NAMES = tuple(scenario.name for scenario in SCENARIOS)


@click.command(epilog="Example: python -m lab.faults --quick --only worker-killed --only database-cut")
@click.option("--quick", is_flag=True, help="Run each scenario for a short time.")
@click.option(
    "--only", "names", multiple=True, type=click.Choice(NAMES), help="Run only this scenario; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON.")
@click.option("--docs", is_flag=True, help="Keep the outcomes in lab/faults/results.json and rewrite docs/faults.md.")
@click.option("--minutes", default=60.0, show_default=True, help="Duration of the scenario long-run.")
def main(quick: bool, names: Sequence[str], as_json: bool, docs: bool, minutes: float) -> None:
    """Inject faults into real parts under load, then count what was lost, duplicated or answered wrong."""
    chosen = [scenario for scenario in SCENARIOS if not names or scenario.name in names]
    outcomes = run(chosen, quick=quick, quiet=as_json, long_run_minutes=minutes)
    if as_json:
        click.echo(json.dumps([asdict(outcome) | {"passed": outcome.passed} for outcome in outcomes], indent=1))
    elif sys.stdout.isatty():
        Console().print(report.table(outcomes))
    else:
        click.echo(report.markdown(outcomes))
    if docs:
        report.keep(outcomes)
        report.write_docs(NAMES)
    sys.exit(any(not outcome.passed and outcome.unavailable is None for outcome in outcomes))


def run(
    scenarios: Sequence[Scenario], *, quick: bool, quiet: bool = False, long_run_minutes: float = 60.0
) -> list[Outcome]:
    """Run the scenarios one after the other, each in a deployment of its own."""
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        TextColumn("{task.fields[action]}"),
        TimeElapsedColumn(),
    )
    opened: list[ObjectStore] = []

    def object_store() -> ObjectStore:
        if not opened:
            opened.append(ObjectStore())
        return opened[0]

    outcomes = []
    with (
        Progress(*columns, console=Console(stderr=True, quiet=quiet)) as progress,
        Background() as background,
        tempfile.TemporaryDirectory(prefix="sira-faults-") as folder,
    ):
        task = progress.add_task("models", total=None, action="training")
        models = make_models(Path(folder))
        progress.remove_task(task)
        for scenario in scenarios:
            task = progress.add_task(scenario.name, total=1.0, action="starting")

            def show(done: float, of: float, action: str, task: TaskID = task) -> None:
                progress.update(task, completed=done, total=of, action=action)

            own = Path(folder, scenario.name)
            own.mkdir()
            scenario_run = ScenarioRun(own, background, models, quick, object_store, long_run_minutes, show)
            outcomes.append(outcome_of(scenario, scenario_run))
            progress.update(task, action="passed" if outcomes[-1].passed else "see the table")
    return outcomes


if __name__ == "__main__":
    main()
