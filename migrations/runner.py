"""Compares the migration files with those the database has recorded, and applies the pending ones."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from runtime.postgres import Connection
from runtime.queries import load_queries

FOLDER = Path(__file__).parent
_SQL = load_queries(FOLDER / "queries.sql")

MigrationState = Literal["pending", "applied", "changed", "unknown"]


class MigrationError(Exception):
    """Base class of migration errors."""


class MigrationsDisagree(MigrationError):
    """An applied file was changed, or the database has a migration that this checkout lacks."""

    def __init__(self, migrations: "list[Migration]") -> None:
        changed = [m.version for m in migrations if m.state == "changed"]
        unknown = [m.version for m in migrations if m.state == "unknown"]
        faults = []
        if changed:
            faults.append(
                f"changed since applied: {', '.join(changed)} (restore the file, add a new one for the change)"
            )
        if unknown:
            faults.append(f"applied but no file here: {', '.join(unknown)} (this checkout is older than the database)")
        super().__init__("; ".join(faults))


class SchemaUnsupported(MigrationError):
    def __init__(self, schema: str | None) -> None:
        super().__init__(
            f"this role creates tables in schema {schema or 'none'}, but the product's functions name public: use a"
            " database of its own, or ALTER ROLE ... SET search_path = public"
        )


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration; `sha256` is the file's digest, None for a version that has no file in this checkout."""

    version: str
    state: MigrationState
    sha256: str | None
    applied_at: datetime | None


def status(connection: Connection, folder: Path = FOLDER) -> list[Migration]:
    """Return every migration of the folder and of the database, ordered by version."""
    digests = {path.stem: _digest(path) for path in _files(folder)}
    exists = connection.execute(_SQL["recorded_exists"]).fetchone()
    rows = connection.execute(_SQL["recorded"]).fetchall() if exists and exists[0] else []
    recorded = {version: (sha256, applied_at) for version, sha256, applied_at in rows}
    found = []
    for version in sorted(digests | recorded):
        digest = digests.get(version)
        recorded_digest, applied_at = recorded.get(version, (None, None))
        found.append(Migration(version, _state(digest, version in recorded, recorded_digest), digest, applied_at))
    return found


def up(
    connection: Connection, folder: Path = FOLDER, on_apply: Callable[[str], None] = lambda version: None
) -> list[str]:
    """Apply the pending migrations and return their versions; `on_apply` receives each before it runs.

    `connection` is in autocommit mode because each file has its own BEGIN and COMMIT. Raises MigrationsDisagree before
    anything runs when an applied file was changed or the database is ahead of the folder, and SchemaUnsupported when
    the connection would create tables elsewhere than in public.
    """
    schema = connection.execute(_SQL["schema_for_new_tables"]).fetchone()
    if schema != ("public",):
        raise SchemaUnsupported(schema[0] if schema else None)
    found = status(connection, folder)
    if any(migration.state in ("changed", "unknown") for migration in found):
        raise MigrationsDisagree(found)
    applied = []
    for migration in found:
        if migration.state == "pending":
            on_apply(migration.version)
            connection.execute((folder / f"{migration.version}.sql").read_bytes())
            applied.append(migration.version)
        connection.execute(_SQL["record_digest"], {"version": migration.version, "sha256": migration.sha256})
    return applied


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9][0-9]_*.sql"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _state(digest: str | None, applied: bool, recorded_digest: str | None) -> MigrationState:
    if digest is None:
        return "unknown"
    if not applied:
        return "pending"
    return "applied" if recorded_digest in (None, digest) else "changed"
