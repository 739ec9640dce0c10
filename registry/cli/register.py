"""`python -m registry register`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn

import click
from rich.progress import DownloadColumn

from registry.artifacts import Progress as SentBytes
from registry.artifacts import open_store
from registry.cli.commands import registry, registry_connection, version_label
from registry.cli.display import differences_table
from registry.inspection.parent import InspectionLimits, ReferenceRequest
from registry.inspection.reference_check import DEFAULT_TOLERANCE
from registry.inspection.reference_file import DEFAULT_SCORE_COLUMN
from registry.reason_codes import ReasonCode, parse_codes
from registry.registration import Declaration, Registered, RegistrationRefused, register
from runtime.command import actor_option, console, example, print_json, progress_bar, reason_option
from runtime.command import as_json_option as as_json
from runtime.settings import ArtifactSettings, DatabaseSettings


class _RegisterSettings(DatabaseSettings, ArtifactSettings):
    pass


def _names(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(name for part in (text or "").split(",") if (name := part.strip()))


def _names_or_all(
    context: click.Context, option: click.Parameter, text: str | None
) -> tuple[str, ...] | Literal["all"]:
    return "all" if text == "all" else _names(context, option, text)


def _pairs(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and name.strip()):
            raise click.BadParameter(f"{text!r} has no =")
        pairs[name.strip()] = value
    return pairs


@registry.command(
    "register", epilog=example("registry register ulb.onnx --product card_ulb --name ulb --version 1 --block 0.9")
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--product", required=True)
@click.option("--name", required=True)
@click.option("--version", required=True)
@click.option(
    "--features", callback=_names, help="Names of a tensor's columns, in order: a,b,c.  [default: from the model]"
)
@click.option("--nullable", callback=_names_or_all, help="Fields that may be null or absent: a,b or all.")
@click.option("--default", callback=_pairs, multiple=True, metavar="FIELD=VALUE", help="Value of an absent field.")
@click.option("--rename", callback=_pairs, multiple=True, metavar="FIELD=INPUT", help="Payload field of a model input.")
@click.option("--output", help="The output that holds the probability.  [default: from the model]")
@click.option("--positive", help="The class label that means fraud.  [default: from the model]")
@click.option(
    "--reference",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rows with the scores of the training library: .parquet, .csv or .jsonl.",
)
@click.option("--score-column", default=DEFAULT_SCORE_COLUMN, show_default=True, help="The reference's score column.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=DEFAULT_TOLERANCE,
    show_default=True,
    help="How far a score may be from the reference's.",
)
@click.option("--require-reference", is_flag=True, help="Refuse a model without --reference.  [env: REQUIRE_REFERENCE]")
@click.option("--review", type=float, help="Score from which an event is reviewed.  [default: from the model]")
@click.option("--block", type=float, help="Score from which an event is blocked.  [default: from the model]")
@click.option(
    "--reason-codes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML list of {field, code, sentence}.  [default: from the model]",
)
@reason_option
@actor_option
@as_json
def register_command(
    file: Path,
    product: str,
    name: str,
    version: str,
    features: tuple[str, ...],
    nullable: tuple[str, ...] | Literal["all"],
    default: dict[str, str],
    rename: dict[str, str],
    output: str | None,
    positive: str | None,
    reference: Path | None,
    score_column: str,
    tolerance: float,
    require_reference: bool,
    review: float | None,
    block: float | None,
    reason_codes: Path | None,
    reason: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Check an ONNX file, upload it, and register it as a version in staging."""
    declaration = Declaration(
        product, name, version, features or None, positive, review, block, output, nullable, default, rename,
        _codes(reason_codes),
    )  # fmt: skip
    settings = _RegisterSettings.load()
    if reference is None and (require_reference or settings.require_reference):
        raise click.UsageError("reference rows are required: give --reference")
    rows = None if reference is None else ReferenceRequest(str(reference.resolve()), score_column, tolerance)
    try:
        registered = _register(file, declaration, rows, settings, actor=actor, reason=reason, quiet=as_json)
    except RegistrationRefused as refused:
        if refused.differences is None:
            raise
        _refuse_differences(refused, as_json=as_json)
    if as_json:
        print_json({"created": registered.created, "model": registered.version.to_json()})
    else:
        _report(registered)


def _codes(path: Path | None) -> tuple[ReasonCode, ...] | None:
    if path is None:
        return None
    codes, faults = parse_codes(path.read_text(errors="replace"))
    if faults:
        raise RegistrationRefused(faults)
    return codes


def _register(
    file: Path,
    declaration: Declaration,
    reference: ReferenceRequest | None,
    settings: _RegisterSettings,
    *,
    actor: str,
    reason: str | None,
    quiet: bool,
) -> Registered:
    with registry_connection(settings=settings) as connection, _upload_bar(file, shown=not quiet) as progress:
        return register(
            connection,
            open_store(settings.model_bucket),
            file,
            declaration,
            actor=actor,
            reason=reason,
            reference=reference,
            limits=InspectionLimits(max_bytes=settings.artifact_max_bytes),
            progress=progress,
        )


def _report(registered: Registered) -> None:
    version = registered.version
    label = version_label(version)
    for warning in version.metadata.get("warnings", ()):
        click.echo(f"warning: {warning}", err=True)
    if not registered.created:
        click.echo(f"{label} was registered before as {version.model_id} ({version.status}); nothing changed")
        return
    if version.reference is None:
        click.echo(f"{label} has no reference rows: nothing shows that it scores as its trainer did", err=True)
    click.echo(f"{label} is registered as {version.model_id} (staging)")
    click.echo(f"serve it: python -m registry promote {label} production")


def _refuse_differences(refused: RegistrationRefused, *, as_json: bool) -> NoReturn:
    """Print how reference rows differ, and exit with 1."""
    assert refused.differences is not None
    if as_json:
        print_json({"refused": list(refused.faults), "differences": refused.differences})
    else:
        console().print(differences_table(refused.differences))
        click.echo("registry: not registered: the model does not score as its trainer did", err=True)
    sys.exit(1)


@contextmanager
def _upload_bar(file: Path, *, shown: bool) -> Iterator[SentBytes]:
    with progress_bar("checking", DownloadColumn(), shown=shown) as update:
        yield lambda count: update(description="uploading", total=file.stat().st_size, advance=count)
