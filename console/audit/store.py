"""What the page of the audit log reads. The caller owns the transaction."""

from pathlib import Path

from psycopg.rows import class_row

from registry.audit import AuditRow
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

MAX_ROWS = 100


def audit_rows(
    connection: Connection,
    *,
    below: int | None = None,
    actor: str | None = None,
    subject: str | None = None,
    action: str | None = None,
) -> list[AuditRow]:
    """Return at most MAX_ROWS rows, newest first; `action` is the beginning of one."""
    values = {"below": below, "actor": actor, "subject": subject, "action": action, "limit": MAX_ROWS}
    with connection.cursor(row_factory=class_row(AuditRow)) as cursor:
        return cursor.execute(QUERIES["audit_rows"], values).fetchall()


def audit_head(connection: Connection) -> tuple[int, str] | None:
    """Return the head of the chain: (seq, sha256) of the last row."""
    row = connection.execute(QUERIES["audit_head"]).fetchone()
    return None if row is None else (row[0], row[1])
