"""`python -m migrations`: bring the database's schema forward, or say where it stands."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict

import click
import psycopg
from rich.console import Console
from rich.table import Table

from migrations import runner
from runtime.postgres import connect

EXAMPLE = """
\b
Example:
  DATABASE_URL=postgresql://owner@localhost/molam python -m migrations up
"""


@click.group(epilog=EXAMPLE)
def migrations() -> None:
    """Plain SQL, forward only: each file also runs with `psql \\i`, and is safe to run twice."""


def _database(command: Callable[..., None]) -> Callable[..., None]:
    option = click.option(
        "--database-url", envvar="DATABASE_URL", show_envvar=True, required=True, help="Of the schema's owner."
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="For machines.")
    return option(as_json(command))


@migrations.command(epilog=EXAMPLE)
@_database
def up(database_url: str, as_json: bool) -> None:
    """Apply what is pending."""
    tell = (lambda version: None) if as_json else (lambda version: click.echo(f"applying {version}"))
    with connect(database_url, name="migrations", autocommit=True, statement_timeout_ms=0) as connection:
        applied = runner.up(connection, tell=tell)
    if as_json:
        click.echo(json.dumps({"applied": applied}))
    elif not applied:
        click.echo("nothing to apply")


@migrations.command(epilog=EXAMPLE.replace("migrations up", "migrations status"))
@_database
def status(database_url: str, as_json: bool) -> None:
    """Every migration: pending, applied, changed since, or unknown to this checkout."""
    with connect(database_url, name="migrations", autocommit=True) as connection:
        found = runner.status(connection)
    if as_json:
        click.echo(json.dumps([asdict(migration) for migration in found], default=str))
        return
    table = Table("version", "state", "applied at", "sha256")
    for migration in found:
        applied_at = migration.applied_at.strftime("%Y-%m-%d %H:%M:%S %Z") if migration.applied_at else "-"
        table.add_row(migration.version, migration.state, applied_at, (migration.sha256 or "-")[:12])
    Console().print(table)


if __name__ == "__main__":
    try:
        migrations(prog_name="python -m migrations")
    except (runner.MigrationError, psycopg.Error) as error:
        click.echo(f"migrations: {str(error).strip().splitlines()[0]}", err=True)
        sys.exit(1)
