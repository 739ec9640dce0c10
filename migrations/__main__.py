"""`python -m migrations`: bring the database's schema forward, or say where it stands."""

import json
import sys
from dataclasses import asdict

import click
import psycopg
from rich.console import Console
from rich.table import Table

from migrations import runner
from runtime.postgres import connect
from runtime.settings import DatabaseSettings, SettingsInvalid

EXAMPLE = """
\b
Example:
  DATABASE_URL=postgresql://owner@localhost/molam python -m migrations up
"""


@click.group(epilog=EXAMPLE)
def migrations() -> None:
    """Plain SQL, forward only: each file also runs with `psql \\i`, and is safe to run twice."""


_as_json = click.option("--json", "as_json", is_flag=True, help="For machines.")


@migrations.command(epilog=EXAMPLE)
@_as_json
def up(as_json: bool) -> None:
    """Apply what is pending."""
    tell = (lambda version: None) if as_json else (lambda version: click.echo(f"applying {version}"))
    with connect(_database_url(), name="migrations", autocommit=True, statement_timeout_ms=0) as connection:
        applied = runner.up(connection, tell=tell)
    if as_json:
        click.echo(json.dumps({"applied": applied}))
    elif not applied:
        click.echo("nothing to apply")


@migrations.command(epilog=EXAMPLE.replace("migrations up", "migrations status"))
@_as_json
def status(as_json: bool) -> None:
    """Every migration: pending, applied, changed since, or unknown to this checkout."""
    with connect(_database_url(), name="migrations", autocommit=True) as connection:
        found = runner.status(connection)
    if as_json:
        click.echo(json.dumps([asdict(migration) for migration in found], default=str))
        return
    table = Table("version", "state", "applied at", "sha256")
    for migration in found:
        applied_at = migration.applied_at.strftime("%Y-%m-%d %H:%M:%S %Z") if migration.applied_at else "-"
        table.add_row(migration.version, migration.state, applied_at, (migration.sha256 or "-")[:12])
    Console().print(table)


def _database_url() -> str:
    return DatabaseSettings.load().database_url.get_secret_value()


if __name__ == "__main__":
    try:
        migrations(prog_name="python -m migrations")
    except (runner.MigrationError, SettingsInvalid, psycopg.Error) as error:
        click.echo(f"migrations: {str(error).strip().splitlines()[0]}", err=True)
        sys.exit(1)
