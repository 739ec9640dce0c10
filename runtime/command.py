"""Shared parts of the command lines: options, terminal output, the database connection, and one-line errors."""

import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import psycopg
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Table

from runtime.postgres import Connection, connect
from runtime.settings import DatabaseSettings, SettingsInvalid

_DEVELOPMENT_SETTINGS = Path(".sira/dev.env")
# A pipe has no width of its own, and ids must not be cut there.
_PIPE_WIDTH = 220
# From this width, tables of versions and rollouts show ids of 36 characters.
WIDE = 140


def login() -> str:
    """Return the user's login name: the default actor in the audit log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
reason_option = click.option("--reason", help="Reason recorded in the audit log.")
actor_option = click.option(
    "--actor", default=login, show_default="your login", help="Actor recorded in the audit log."
)


def example(command: str) -> str:
    """Return a help epilog with one example: `python -m <command>`."""
    return f"\b\nExample:\n  python -m {command}"


def console() -> Console:
    """Return a console for stdout that is wide enough for ids even in a pipe."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def plain_table(*headings: str) -> Table:
    """Return a table without lines; a cell that is too long is folded, never cut."""
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def utc_text(at: datetime) -> str:
    """Return a time as the tables print it: UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def print_json(value: Any) -> None:
    """Print a value that msgspec can encode as indented JSON."""
    click.echo(json.dumps(msgspec.to_builtins(value), indent=2))


@contextmanager
def progress_bar(description: str, *columns: ProgressColumn, shown: bool) -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr while the block runs, if `shown` and stderr is a terminal.

    Yields rich's update function of the bar: `update(completed=10, total=100)`.
    """
    parts = (TextColumn("{task.description}"), BarColumn(), *columns)
    with Progress(*parts, console=Console(stderr=True), disable=not (shown and sys.stderr.isatty())) as bar:
        yield partial(bar.update, bar.add_task(description, total=None))


@contextmanager
def database_connection(
    name: str, *, statement_timeout_ms: int, settings: DatabaseSettings | None = None
) -> Iterator[Connection]:
    """Connect to DATABASE_URL; commit when the block ends, or roll back after an error."""
    url = (settings or DatabaseSettings.load()).database_url.get_secret_value()
    with connect(url, name=name, statement_timeout_ms=statement_timeout_ms) as connection:
        yield connection


def run(group: click.Command, *expected: type[Exception], prog_name: str | None = None) -> None:
    """Run `python -m <group>`; print an expected error, or one of settings, Postgres or the system, on one line."""
    reported: tuple[type[Exception], ...] = (*expected, SettingsInvalid, psycopg.Error, OSError)
    try:
        group(prog_name=prog_name or f"python -m {group.name}")
    except reported as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        click.echo(f"{group.name}: {line}{_advice(error)}", err=True)
        sys.exit(1)


def _advice(error: Exception) -> str:
    if isinstance(error, SettingsInvalid) and _DEVELOPMENT_SETTINGS.exists():
        return f"; `set -a; source {_DEVELOPMENT_SETTINGS}; set +a` sets them for `make run`"
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return "; run `python -m migrations up` first"
    return ""
