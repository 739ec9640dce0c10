"""What the command lines share: who calls, JSON for machines, and errors on one line that says what to do."""

import getpass
import json
import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import psycopg

from runtime.settings import SettingsInvalid

_DEVELOPMENT = Path(".sira/dev.env")


def login() -> str:
    """Whom the audit log names when nobody is named."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"


as_json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")
reason_option = click.option("--reason", help="Why, for the audit log.")
actor_option = click.option("--actor", default=login, show_default="your login", help="Who, likewise.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(msgspec.to_builtins(value), indent=2))


def run(group: click.Group, *expected: type[Exception]) -> None:
    """Run `python -m <group>`; an expected error, or one of settings, Postgres or the system, ends it with one line."""
    told: tuple[type[Exception], ...] = (*expected, SettingsInvalid, psycopg.Error, OSError)
    try:
        group(prog_name=f"python -m {group.name}")
    except told as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        click.echo(f"{group.name}: {line}{_advice(error)}", err=True)
        sys.exit(1)


def _advice(error: Exception) -> str:
    if isinstance(error, SettingsInvalid) and _DEVELOPMENT.exists():
        return f"; `set -a; source {_DEVELOPMENT}; set +a` sets them for `make run`"
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return "; run `python -m migrations up` first"
    return ""
