"""`python -m registry check`: score the kept reference rows again."""

import sys
import tempfile
from pathlib import Path

import click
from rich.progress import MofNCompleteColumn

from registry import store
from registry.artifacts import open_store
from registry.cli.commands import registry, registry_connection
from registry.cli.display import checks_table
from registry.recheck import VersionCheck, check_version
from runtime.command import as_json_option as as_json
from runtime.command import console, example, print_json, progress_bar
from runtime.settings import ArtifactSettings, DatabaseSettings


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
