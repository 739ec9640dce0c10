"""`python -m lab.benchmarks.monitoring`: break what a served product receives or serves, and time the alarms."""

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import psycopg
from rich.console import Console

from lab.benchmarks import documents, machine, report, tables
from lab.benchmarks.monitoring import past
from lab.benchmarks.monitoring.cases import CASES, Case
from lab.benchmarks.monitoring.outcome import Measured, rows
from lab.benchmarks.monitoring.past import Past, Scored
from lab.benchmarks.monitoring.run import Traffic, measure
from lab.benchmarks.monitoring.stack import serving
from lab.demo.recipes import RECIPES
from lab.demo.train import Trained, train
from lab.demo.transactions import transactions
from lab.errors import LabError
from lab.versions import make_production
from registry.artifacts import ArtifactStore
from registry.inspection.child import inspect
from registry.inspection.metadata import ModelMetadata
from registry.inspection.parent import ReferenceRequest
from registry.model_session import ModelSession
from registry.registration import Declaration, register
from runtime.postgres import Connection

ACTOR = "monitoring-cases"
PAYMENTS = 20_000
PAST_PER_HOUR = 20_000
NAMES = tuple(case.name for case in CASES)


class Models:
    """The demo's first model, and the payments that are sent to it with its scores."""

    def __init__(self, folder: Path) -> None:
        self.trained: Trained = train(RECIPES[0])
        self.path = folder / "model.onnx"
        self.path.write_bytes(self.trained.onnx)
        self.reference = folder / "reference.jsonl"
        self.reference.write_text(self.trained.reference)
        payloads = list(transactions(PAYMENTS, seed=113).payloads())
        session = ModelSession(inspect(self.path, ModelMetadata()).signature, self.path)
        scores = np.asarray(session.score([session.feed.row(payload) for payload in payloads]), dtype=np.float64)
        self.usual = Scored(payloads, scores)
        blocked = np.flatnonzero(scores >= self.trained.block).tolist()
        self.blocked = Scored([payloads[place] for place in blocked], scores[blocked])


def prepare(
    connection: Connection, artifacts: ArtifactStore, database_url: str, cases: Sequence[Case], models: Models
) -> dict[str, str]:
    """Register each case's product and write its past; return the model_ids of the canaries, by case."""
    canaries = {}
    for case in cases:
        reference = ReferenceRequest(str(models.reference))
        declaration = Declaration(case.product, "gradient_boosting", "1")
        version = register(connection, artifacts, models.path, declaration, actor=ACTOR, reference=reference).version
        make_production(connection, version.model_id, actor=ACTOR)
        if case.shuffle is not None:
            # Without reference rows, which would refuse the columns in another order at registration.
            declaration = Declaration(case.product, "gradient_boosting", "2", rename=case.shuffle)
            canaries[case.name] = register(
                connection, artifacts, models.path, declaration, actor=ACTOR
            ).version.model_id
        if case.habit is not None:
            past.write(database_url, version, Past(models.usual, models.blocked, case.habit, PAST_PER_HOUR))
    return canaries


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--minutes", default=10.0, show_default=True, help="Duration of the case healthy.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--docs", is_flag=True, help="Keep the outcomes and rewrite docs/monitoring.md.")
def main(names: Sequence[str], minutes: float, as_json: bool, docs: bool) -> None:
    """Run the cases in turn, all unless some are named: twenty minutes. Exit status 1 if an alarm is missing or false.

    \b
    Example: python -m lab.benchmarks.monitoring null_field cents
    """
    console = Console(stderr=True)
    chosen = [case for case in CASES if not names or case.name in names]
    try:
        measured = run(chosen, minutes * 60.0, console)
    except (LabError, psycopg.Error) as error:
        sys.exit(f"monitoring: {str(error).splitlines()[0]}")
    if as_json:
        click.echo(json.dumps([asdict(one) | {"reached": one.reached} for one in measured], indent=1))
    else:
        click.echo(tables.table(rows(measured)))
    if docs:
        conditions = machine.conditions("make monitoring-cases")
        kept = report.kept(report.RESULTS).get("monitoring", {})
        documents.store("monitoring", kept | {one.name: asdict(one) | conditions for one in measured})
    sys.exit(0 if all(one.reached for one in measured) else 1)


def run(cases: Sequence[Case], healthy_seconds: float, console: Console) -> list[Measured]:
    """Run the cases one after the other on one deployment."""
    with ExitStack() as stack_of, console.status("training the model") as status:
        folder = Path(stack_of.enter_context(tempfile.TemporaryDirectory(prefix="sira-monitoring-")))
        folder.chmod(0o755)  # Postgres, which does not run as root, must reach its folder inside
        models, canaries = Models(folder), dict[str, str]()
        traffic = Traffic(list(models.usual.payloads), list(models.blocked.payloads))
        status.update("writing the past week and starting the processes")
        stack = stack_of.enter_context(
            serving(
                folder,
                lambda connection, artifacts, url: canaries.update(prepare(connection, artifacts, url, cases, models)),
            )
        )
        measured = []
        for case in cases:
            status.update(case.name)
            measured.append(measure(stack, case, traffic, canaries.get(case.name), healthy_seconds))
        return measured


if __name__ == "__main__":
    main()
