"""The commands of `python -m registry`: register versions, list them, change their status, verify the audit log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn

import click
import msgspec
from rich.progress import DownloadColumn

from registry import audit, store
from registry.artifacts import Progress as SentBytes
from registry.artifacts import open_store
from registry.cli.display import differences_table, history_table, version_card, versions_table
from registry.inspection.parent import InspectionLimits, ReferenceRequest
from registry.inspection.reference_check import DEFAULT_TOLERANCE
from registry.inspection.reference_file import DEFAULT_SCORE_COLUMN
from registry.model_version import PROMOTE_TARGETS, ModelVersion, Status
from registry.registration import Declaration, RegistrationRefused, register
from runtime.auth import Role, mint_token
from runtime.command import (
    actor_option,
    console,
    database_connection,
    example,
    login,
    print_json,
    progress_bar,
    reason_option,
)
from runtime.command import as_json_option as as_json
from runtime.settings import ArtifactSettings, DatabaseSettings, TokenSettings

registry_connection = partial(database_connection, "registry", statement_timeout_ms=60_000)


@click.group()
def registry() -> None:
    """Show and change model versions.

    MODEL is a model_id or PRODUCT/NAME/VERSION.
    """


@registry.command(
    "register", epilog=example("registry register ulb.onnx --product card_ulb --name ulb --version 1 --block 0.9")
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--product", required=True)
@click.option("--name", required=True)
@click.option("--version", required=True)
@click.option("--features", help="Names of a tensor's columns, in order: a,b,c.  [default: from the model]")
@click.option("--nullable", help="Fields that may be null or absent: a,b, or all.  [default: from the model]")
@click.option(
    "--default", "defaults", multiple=True, metavar="FIELD=VALUE", help="Value of an absent field; repeatable."
)
@click.option("--rename", multiple=True, metavar="FIELD=INPUT", help="Payload field of a model input.")
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
@reason_option
@actor_option
@as_json
def register_command(
    file: Path,
    product: str,
    name: str,
    version: str,
    features: str | None,
    nullable: str | None,
    defaults: tuple[str, ...],
    rename: tuple[str, ...],
    output: str | None,
    positive: str | None,
    reference: Path | None,
    score_column: str,
    tolerance: float,
    require_reference: bool,
    review: float | None,
    block: float | None,
    reason: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Check an ONNX file, upload it, and register it as a version in staging."""
    declaration = Declaration(
        product,
        name,
        version,
        features=_names(features) if features else None,
        positive=positive,
        review=review,
        block=block,
        output=output,
        nullable="all" if nullable == "all" else _names(nullable or ""),
        defaults=dict(_pair(text, "--default") for text in defaults),
        rename=dict(_pair(text, "--rename") for text in rename),
    )
    settings = _RegisterSettings.load()
    if reference is None and (require_reference or settings.require_reference):
        raise click.UsageError("reference rows are required: give --reference")
    artifacts = open_store(settings.model_bucket)
    limits = InspectionLimits(max_bytes=settings.artifact_max_bytes)
    rows = None if reference is None else ReferenceRequest(str(reference.resolve()), score_column, tolerance)
    try:
        with registry_connection(settings=settings) as connection, _upload_bar(file, shown=not as_json) as progress:
            registered = register(
                connection,
                artifacts,
                file,
                declaration,
                actor=actor,
                reason=reason,
                reference=rows,
                limits=limits,
                progress=progress,
            )
    except RegistrationRefused as refused:
        if refused.differences is None:
            raise
        _refuse_differences(refused, as_json=as_json)
    if as_json:
        print_json({"created": registered.created, "model": registered.version.to_json()})
        return
    label, model_id = _label(registered.version), registered.version.model_id
    if not registered.created:
        click.echo(f"{label} was registered before as {model_id} ({registered.version.status}); nothing changed")
        return
    if registered.version.reference is None:
        click.echo(f"{label} has no reference rows: nothing shows that it scores as its trainer did", err=True)
    for warning in registered.version.metadata.get("warnings", ()):
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"{label} is registered as {model_id} (staging)\nserve it: python -m registry promote {label} production"
    )


def _refuse_differences(refused: RegistrationRefused, *, as_json: bool) -> NoReturn:
    """Print how reference rows differ, and exit with 1."""
    assert refused.differences is not None
    if as_json:
        print_json({"refused": list(refused.faults), "differences": refused.differences})
    else:
        console().print(differences_table(refused.differences))
        click.echo("registry: not registered: the model does not score as its trainer did", err=True)
    sys.exit(1)


@registry.command("list", epilog=example("registry list --product fraud_score --status production"))
@click.option("--product")
@click.option("--status", type=click.Choice([str(status) for status in Status]))
@click.option("--limit", type=click.IntRange(1, store.MAX_PAGE), default=store.DEFAULT_PAGE, show_default=True)
@click.option("--cursor", help="The cursor that the previous page ended with.")
@as_json
def list_command(product: str | None, status: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """List versions, newest first."""
    with registry_connection() as connection:
        wanted = Status(status) if status else None
        page = store.list_versions(connection, product=product, status=wanted, limit=limit, cursor=cursor)
    if as_json:
        models = [version.to_json() for version in page.versions]
        print_json({"models": models, "total": page.total, "next_cursor": page.next_cursor})
    else:
        console().print(versions_table(page))


@registry.command(epilog=example("registry show fraud_score/gradient/1"))
@click.argument("model")
@as_json
def show(model: str, as_json: bool) -> None:
    """Show one version: signature, thresholds, artifact and history."""
    with registry_connection() as connection:
        version = store.resolve(connection, model)
        history = audit.history(connection, subject=version.model_id)
    if as_json:
        print_json({**version.to_json(), "history": history})
    else:
        console().print(version_card(version, history))


@registry.command(epilog=example("registry promote fraud_score/gradient/2 production --reason 'canary went well'"))
@click.argument("model")
@click.argument("target", type=click.Choice([str(status) for status in PROMOTE_TARGETS]))
@reason_option
@actor_option
@as_json
def promote(model: str, target: str, reason: str | None, actor: str, as_json: bool) -> None:
    """Change a version's status; promoting to production retires the current one.

    To roll back at once, promote the retired version to production again.
    """
    with registry_connection() as connection:
        model_id = store.resolve(connection, model).model_id
        change = store.change_status(connection, model_id, Status(target), actor=actor, reason=reason)
    if as_json:
        print_json(change)
        return
    line = f"{_label(change.version)} is {target} (was {change.before})"
    click.echo(line if change.retired is None else f"{line}; {_label(change.retired)} is retired")


@registry.command(epilog=example("registry token --role ml_ops --subject ops_john --hours 8"))
@click.option("--role", type=click.Choice([role.name for role in Role]), required=True)
@click.option("--subject", default=login, show_default="your login", help="Actor that the audit log records.")
@click.option("--hours", type=click.FloatRange(0, 24 * 366, min_open=True), default=12, show_default=True)
@as_json
def token(role: str, subject: str, hours: float, as_json: bool) -> None:
    """Print a bearer token for a person, signed with JWT_SECRET."""
    secret = TokenSettings.load().jwt_secret.get_secret_value()
    now, lifetime = datetime.now(UTC), timedelta(hours=hours)
    minted = mint_token(secret, subject=subject, role=Role[role], now=now, lifetime=lifetime)
    if as_json:
        print_json({"token": minted, "subject": subject, "role": role, "expires_at": now + lifetime})
    else:
        click.echo(minted)


@registry.group("audit")
def audit_group() -> None:
    """Show and verify the audit log, a chain of hashes."""


@audit_group.command("list", epilog=example("registry audit list --limit 20"))
@click.option("--subject", help="Id of the changed object, such as a model_id.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@as_json
def audit_list(subject: str | None, limit: int, as_json: bool) -> None:
    """List the latest changes, newest first."""
    with registry_connection() as connection:
        rows = audit.history(connection, subject=subject, limit=limit)
    if as_json:
        print_json({"rows": rows})
    else:
        console().print(history_table(rows))


@audit_group.command("verify", epilog=example("registry audit verify --anchor 41:9f86d081884c7d65..."))
@click.option("--anchor", help="A head that was printed earlier and stored elsewhere, as SEQ:SHA256.")
@as_json
def audit_verify(anchor: str | None, as_json: bool) -> None:
    """Check that no audit row was changed; exit 1 and name the first one that was.

    Store the printed head where a database administrator cannot write, and pass it as the anchor next time. Only an
    anchor reveals rows deleted from the end, or a chain that was rewritten as a whole.
    """
    with registry_connection() as connection:
        result = audit.verify(connection, _read_anchor(anchor) if anchor else None)
    intact = isinstance(result, audit.Intact)
    if as_json:
        print_json({"intact": intact, **msgspec.to_builtins(result)})
    elif isinstance(result, audit.Intact):
        click.echo(f"intact: {result.rows} rows, head {result.head[0]}:{result.head[1]}")
    else:
        click.echo(f"row {result.seq} was {result.kind}: {result.detail}", err=True)
    sys.exit(0 if intact else 1)


class _RegisterSettings(DatabaseSettings, ArtifactSettings):
    pass


@contextmanager
def _upload_bar(file: Path, *, shown: bool) -> Iterator[SentBytes]:
    with progress_bar("checking", DownloadColumn(), shown=shown) as update:
        yield lambda count: update(description="uploading", total=file.stat().st_size, advance=count)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _pair(text: str, option: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (separator and name.strip()):
        raise click.BadParameter(f"{text!r} has no =", param_hint=option)
    return name.strip(), value


def _read_anchor(text: str) -> tuple[int, str]:
    seq, _, sha256 = text.partition(":")
    if not seq.isdigit() or len(sha256) != 64:
        raise click.BadParameter("must be SEQ:SHA256 as `audit verify` prints it", param_hint="--anchor")
    return int(seq), sha256.lower()


def _label(version: ModelVersion) -> str:
    return f"{version.product}/{version.name}/{version.version}"
