"""`python -m migrations`: apply pending migrations, or show their state."""

from collections.abc import Callable

import click

from migrations import runner
from runtime.command import as_json_option, console, example, plain_table, print_json, run, utc_text
from runtime.postgres import connect
from runtime.settings import DatabaseSettings


@click.group(epilog=example("migrations up"))
def migrations() -> None:
    """Apply the migrations in this folder to DATABASE_URL, or show their state.

    Connect as the owner of the schema. Each file is plain SQL: it also runs with `psql \\i`, and is safe to run twice.
    """


@migrations.command(epilog=example("migrations up"))
@as_json_option
def up(as_json: bool) -> None:
    """Apply the pending migrations in order."""
    on_apply: Callable[[str], None] = (lambda version: None) if as_json else _print_version
    with connect(_database_url(), name="migrations", autocommit=True, statement_timeout_ms=0) as connection:
        applied = runner.up(connection, on_apply=on_apply)
    if as_json:
        print_json({"applied": applied})
    elif not applied:
        click.echo("nothing to apply")


@migrations.command(epilog=example("migrations status"))
@as_json_option
def status(as_json: bool) -> None:
    """Show each migration: pending, applied, changed since it was applied, or unknown to this checkout."""
    with connect(_database_url(), name="migrations", autocommit=True) as connection:
        found = runner.status(connection)
    if as_json:
        print_json(found)
        return
    table = plain_table("version", "state", "applied at", "sha256")
    for migration in found:
        applied_at = utc_text(migration.applied_at) if migration.applied_at else "-"
        table.add_row(migration.version, migration.state, applied_at, (migration.sha256 or "-")[:12])
    console().print(table)


def _print_version(version: str) -> None:
    click.echo(f"applying {version}")


def _database_url() -> str:
    return DatabaseSettings.load().database_url.get_secret_value()


EXPECTED = (runner.MigrationError,)

if __name__ == "__main__":
    run(migrations, *EXPECTED)
