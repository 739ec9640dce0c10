"""The audit log: who changed what, when and why, in rows chained by hash so that a later edit is detected.

Each row's hash covers the hash of the previous row. Someone who can rewrite the whole table can rewrite the whole
chain, so store the head that `audit verify` prints elsewhere and pass it back as the anchor.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
FIRST_PREVIOUS = "0" * 64
_FETCH_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of sira_audit_log; `subject` is the id of what changed, `before` and `after` are plain JSON."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: Any
    after: Any
    reason: str | None
    previous: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Intact:
    """No row was changed. `head` is (seq, sha256) of the last row, to be stored elsewhere."""

    rows: int
    head: tuple[int, str]


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row that was changed."""

    seq: int
    kind: Literal["edited", "removed", "swapped"]
    detail: str


def row_hash(row: AuditRow, *, seq: int | None = None, previous: str | None = None) -> str:
    """Return the sha256 of the row's canonical JSON, optionally as it would be at another position in the chain."""
    covered = [
        row.seq if seq is None else seq,
        row.at.astimezone(UTC).isoformat(timespec="microseconds"),
        row.actor,
        row.action,
        row.subject,
        row.before,
        row.after,
        row.reason,
        row.previous if previous is None else previous,
    ]
    canonical = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def lock_writes(connection: Connection) -> None:
    """Lock out every other writer of the registry and the audit log until this transaction ends.

    A change takes this lock before its first read, so that its decision rests on current rows. Lock rows of
    sira_canary_config before it, never after: the other order can deadlock.
    """
    connection.execute(QUERIES["lock_writes"])


def append(
    connection: Connection, *, actor: str, action: str, subject: str, before: Any, after: Any, reason: str | None = None
) -> AuditRow:
    """Append a row in the caller's transaction."""
    lock_writes(connection)
    values = {"before": _jsonb(before), "after": _jsonb(after)}
    with connection.cursor(row_factory=dict_row) as cursor:
        # The hash covers before and after as Postgres returns them, because jsonb normalises numbers.
        following = cursor.execute(QUERIES["next_row"], values).fetchone()
        assert following is not None
        unsealed = AuditRow(actor=actor, action=action, subject=subject, reason=reason, sha256="", **following)
        row = AuditRow(**{**_columns(unsealed), "sha256": row_hash(unsealed)})
        cursor.execute(QUERIES["append"], {**_columns(row), **values})
    return row


def history(connection: Connection, *, subject: str | None = None, limit: int = 50) -> list[AuditRow]:
    """Return the latest rows, newest first."""
    with connection.cursor(row_factory=class_row(AuditRow)) as cursor:
        return cursor.execute(QUERIES["history"], {"subject": subject, "limit": limit}).fetchall()


def verify(connection: Connection, anchor: tuple[int, str] | None = None) -> Intact | Broken:
    """Verify the whole chain in the caller's transaction, with at most a few thousand rows in memory.

    `anchor` is a head that was stored elsewhere. Without it, rows deleted from the end and a chain that was rewritten
    as a whole are not detected.
    """
    last: AuditRow | None = None
    for row in _all_rows(connection, "audit_verify"):
        if broken := _fault(connection, last, row, anchor):
            return broken
        last = row
    seq, sha256 = (last.seq, last.sha256) if last else (0, FIRST_PREVIOUS)
    if anchor and anchor[0] > seq:
        return Broken(seq + 1, "removed", f"rows {seq + 1} to {anchor[0]} are gone: the anchor is row {anchor[0]}")
    return Intact(rows=seq, head=(seq, sha256))


def _fault(
    connection: Connection, last: AuditRow | None, row: AuditRow, anchor: tuple[int, str] | None
) -> Broken | None:
    expected_seq, previous = (last.seq + 1, last.sha256) if last else (1, FIRST_PREVIOUS)
    if row.seq != expected_seq:
        gone = f"row {expected_seq} is" if row.seq == expected_seq + 1 else f"rows {expected_seq} to {row.seq - 1} are"
        return Broken(expected_seq, "removed", f"{gone} gone")
    if row_hash(row) != row.sha256:
        if (other := _written_as(connection, row)) is not None:
            return Broken(row.seq, "swapped", f"row {row.seq} holds what was written as row {other}")
        return Broken(row.seq, "edited", f"the contents of row {row.seq} do not match its hash")
    if row.previous != previous:
        edited = max(row.seq - 1, 1)
        return Broken(edited, "edited", f"row {edited} was rewritten with its hash: row {row.seq} chains to another")
    if anchor and anchor == (row.seq, row.sha256):
        return None
    if anchor and anchor[0] == row.seq:
        return Broken(row.seq, "edited", f"row {row.seq} is not the anchor: the chain was rewritten up to it")
    return None


def _written_as(connection: Connection, row: AuditRow) -> int | None:
    """Return the seq that this row's contents were written with, if that is another row's; else None."""
    for other in _all_rows(connection, "audit_written_as"):
        moved_whole = row_hash(row, seq=other.seq) == row.sha256
        moved_contents = row_hash(row, seq=other.seq, previous=other.previous) == other.sha256
        if other.seq != row.seq and (moved_whole or moved_contents):
            return other.seq
    return None


def _all_rows(connection: Connection, cursor_name: str) -> Iterator[AuditRow]:
    with connection.cursor(name=cursor_name, row_factory=class_row(AuditRow)) as cursor:
        cursor.itersize = _FETCH_ROWS
        yield from cursor.execute(QUERIES["all_rows"])


def _jsonb(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value)


def _columns(row: AuditRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in AuditRow.__slots__}
