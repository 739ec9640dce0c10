"""`python -m registry check`: score the kept reference rows again."""

import sys
import tempfile
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from registry import store
from registry.artifacts import open_store
from registry.cli.commands import registry, registry_connection
from registry.inspection.reference_check import Differences
from registry.recheck import VersionCheck, check_version
from runtime.command import as_json_option as as_json
from runtime.command import console, example, print_json, progress_bar
from runtime.settings import ArtifactSettings, DatabaseSettings

_STYLES = {"passed": "green", "differs": "bold red", "failed": "bold red", "no reference": "yellow"}


class _CheckSettings(DatabaseSettings, ArtifactSettings):
    pass


@registry.command("check", epilog=example("registry check --all"))
@click.argument("model", required=False)
@click.option("--all", "all_live", is_flag=True, help="Check every production version and every live canary.")
@as_json
def check(model: str | None, all_live: bool, as_json: bool) -> None:
    """Score the kept reference rows of a version, or of all live ones, on this machine's onnxruntime.

    Exits with 1 when a score differs from its trainer's, or a version cannot be checked.
    """
    if (model is None) == (not all_live):
        raise click.UsageError("name a MODEL, or give --all")
    settings = _CheckSettings.load()
    with registry_connection(settings=settings) as connection:
        versions = store.serving_versions(connection) if model is None else (store.resolve(connection, model),)
    artifacts = open_store(settings.model_bucket)
    checks: list[VersionCheck] = []
    with (
        tempfile.TemporaryDirectory(prefix="sira-check-") as folder,
        progress_bar("scoring reference rows", MofNCompleteColumn(), shown=not as_json) as update,
    ):
        for version in versions:
            update(total=len(versions), completed=len(checks))
            checks.append(check_version(version, artifacts, Path(folder)))
    if as_json:
        print_json({"checks": checks})
    else:
        console().print(checks_table(checks))
    sys.exit(1 if any(check.result in ("differs", "failed") for check in checks) else 0)


def checks_table(checks: list[VersionCheck]) -> RenderableType:
    table = Table("version", "status", "result", "rows", "largest difference", box=None)
    parts: list[RenderableType] = [table]
    for check in checks:
        largest = "" if check.max_difference is None else f"{check.max_difference:.2g}"
        label = f"{check.product}/{check.name}/{check.version}"
        result = Text(check.result, style=_STYLES[check.result])
        table.add_row(label, check.status, result, str(check.rows or ""), largest)
        if check.detail:
            parts.append(Text(f"\n{label}: {check.detail}"))
        if check.differences:
            parts += [Text(f"\n{label}", style="bold"), differences_table(check.differences)]
    return Group(*parts)


def differences_table(differences: Differences) -> RenderableType:
    """How served scores differ from the trainer's: the five worst rows, and the usual cause."""
    table = Table("row", "difference", "blank fields", "zero fields", box=None)
    for row in differences.worst:
        off = "no probability" if row.difference is None else f"{row.difference:.3g}"
        table.add_row(str(row.row), off, _names(row.blank), _names(row.zero))
    return Group(Text(str(differences)), Text(""), table)


def _names(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
