"""The commands of `python -m registry`: register versions, list them, change their status, verify the audit log."""

import sys
from datetime import UTC, datetime, timedelta
from functools import partial

import click
import msgspec

from registry import audit, store
from registry.cli.display import history_table, version_card, versions_table
from registry.importance import importance_of
from registry.model_version import PROMOTE_TARGETS, ModelVersion, Status
from runtime.auth import Role, mint_token
from runtime.command import (
    WIDE,
    actor_option,
    console,
    database_connection,
    example,
    login,
    print_json,
    reason_option,
)
from runtime.command import as_json_option as as_json
from runtime.settings import TokenSettings

registry_connection = partial(database_connection, "registry", statement_timeout_ms=60_000)


@click.group()
def registry() -> None:
    """Show and change model versions.

    MODEL is a model_id or PRODUCT/NAME/VERSION.
    """


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
        terminal = console()
        terminal.print(versions_table(page, wide=terminal.width >= WIDE))


@registry.command(epilog=example("registry show fraud_score/gradient/1"))
@click.argument("model")
@as_json
def show(model: str, as_json: bool) -> None:
    """Show one version: signature, thresholds, artifact, which fields matter, and history."""
    with registry_connection() as connection:
        version = store.resolve(connection, model)
        history = audit.history(connection, subject=version.model_id)
        importance = importance_of(connection, version.model_id)
    if as_json:
        print_json({**version.to_json(), "importance": importance, "history": history})
    else:
        console().print(version_card(version, importance, history))


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
    line = f"{version_label(change.version)} is {target} (was {change.before})"
    click.echo(line if change.retired is None else f"{line}; {version_label(change.retired)} is retired")


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


def _read_anchor(text: str) -> tuple[int, str]:
    seq, _, sha256 = text.partition(":")
    if not seq.isdigit() or len(sha256) != 64:
        raise click.BadParameter("must be SEQ:SHA256 as `audit verify` prints it", param_hint="--anchor")
    return int(seq), sha256.lower()


def version_label(version: ModelVersion) -> str:
    """Return PRODUCT/NAME/VERSION."""
    return f"{version.product}/{version.name}/{version.version}"
