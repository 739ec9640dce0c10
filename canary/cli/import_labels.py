"""`canary labels import`: the labels of a CSV file."""

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.progress import MofNCompleteColumn

from canary.cli.commands import canary, canary_connection
from canary.labels.parsing import parse_csv
from canary.labels.store import insert_labels
from runtime.command import actor_option, as_json_option, example, print_json, progress_bar

MAX_LABELS_PER_STATEMENT = 5_000


@canary.group()
def labels() -> None:
    """Import labels: whether events were fraud or legitimate."""


@labels.command("import", epilog=example("canary labels import chargebacks.csv"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@actor_option
@as_json_option
def import_command(file: Path, actor: str, as_json: bool) -> None:
    """Import a CSV file with the columns product, event_id, label, source, labelled_at. Safe to repeat.

    The whole file is checked before its first label is stored.
    """
    with file.open(newline="", encoding="utf-8-sig") as lines:
        parsed = parse_csv(lines, datetime.now(UTC))
    new = 0
    with (
        canary_connection() as connection,
        progress_bar("labels", MofNCompleteColumn(), shown=not as_json) as update,
    ):
        for first in range(0, len(parsed), MAX_LABELS_PER_STATEMENT):
            part = parsed[first : first + MAX_LABELS_PER_STATEMENT]
            new += insert_labels(connection, part, actor=actor)
            update(completed=first + len(part), total=len(parsed))
    if as_json:
        print_json({"received": len(parsed), "new": new})
    else:
        click.echo(f"{len(parsed):,} labels, {new:,} of them new")
