"""What is applied, what is pending, what was changed since; and applying what is pending."""

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

State = Literal["pending", "applied", "changed", "unknown"]


class MigrationError(Exception):
    """Base of what keeps the schema from moving forward."""


class MigrationsDisagree(MigrationError):
    def __init__(self, migrations: "list[Migration]") -> None:
        changed = [m.version for m in migrations if m.state == "changed"]
        unknown = [m.version for m in migrations if m.state == "unknown"]
        told = []
        if changed:
            told.append(f"changed since applied: {', '.join(changed)} (restore the file, add a new one for the change)")
        if unknown:
            told.append(f"applied but no file here: {', '.join(unknown)} (this checkout is older than the database)")
        super().__init__("; ".join(told))


@dataclass(frozen=True, slots=True)
class Migration:
    """`sha256` is the file's; None when the database knows a version that this checkout has no file for."""

    version: str
    state: State
    sha256: str | None
    applied_at: datetime | None


def status(connection: Connection, folder: Path = FOLDER) -> list[Migration]:
    """Every migration, of the folder and of the database, in order."""
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


def up(connection: Connection, folder: Path = FOLDER, tell: Callable[[str], None] = lambda version: None) -> list[str]:
    """Apply what is pending and return its versions; `tell` hears each before it runs.

    `connection` is in autocommit, as each file carries its own BEGIN and COMMIT. Raises MigrationsDisagree,
    before anything runs, when an applied file was changed or the database is ahead of the folder.
    """
    found = status(connection, folder)
    if any(migration.state in ("changed", "unknown") for migration in found):
        raise MigrationsDisagree(found)
    applied = []
    for migration in found:
        if migration.state == "pending":
            tell(migration.version)
            connection.execute((folder / f"{migration.version}.sql").read_bytes())
            applied.append(migration.version)
        connection.execute(_SQL["record_digest"], {"version": migration.version, "sha256": migration.sha256})
    return applied


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9][0-9]_*.sql"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _state(digest: str | None, applied: bool, recorded_digest: str | None) -> State:
    if digest is None:
        return "unknown"
    if not applied:
        return "pending"
    return "applied" if recorded_digest in (None, digest) else "changed"
