"""Backgrounds and importance in Postgres, and upkeep of the tables of reasons. The caller owns the transaction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from registry.importance import FieldImportance
from runtime.postgres import Connection
from runtime.queries import load_queries
from scoring.reasons.background import Background

DAYS_AHEAD = 7
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


def reasons_exist(connection: Connection) -> bool:
    """Return whether migration 003 has run."""
    row = connection.execute(QUERIES["reasons_exist"]).fetchone()
    assert row is not None
    return bool(row[0])


def find_background(connection: Connection, model_id: str) -> Background | None:
    """Return the frozen background of a version, or None."""
    row = connection.execute(QUERIES["find_background"], {"model_id": model_id}).fetchone()
    return None if row is None else Background(*row)


def freeze_background(connection: Connection, model_id: str, background: Background) -> Background:
    """Make a background that of a version for good; return the one it has, which may be another process's."""
    content = background.content
    rows = content.count("\n") + 1
    connection.execute(QUERIES["insert_background"], {"sha256": background.sha256, "rows": rows, "payloads": content})
    connection.execute(
        QUERIES["freeze_background"],
        {"model_id": model_id, "sha256": background.sha256, "source": background.source},
    )
    frozen = find_background(connection, model_id)
    assert frozen is not None
    return frozen


def allowed_payloads(connection: Connection, product: str, limit: int) -> list[dict[str, Any]]:
    """Return payloads that production allowed within a week, a random sample."""
    rows = connection.execute(QUERIES["allowed_payloads"], {"product": product, "limit": limit})
    return [msgspec.json.decode(text) for (text,) in rows]


def lock_importance(connection: Connection) -> bool:
    """Return whether this connection is the one that computes importance."""
    row = connection.execute(QUERIES["lock_importance"]).fetchone()
    assert row is not None
    return bool(row[0])


def importance_due(connection: Connection, *, skip: Sequence[str], few: int) -> list[str]:
    """Return the ids of versions whose importance is missing or old, without those in `skip`.

    Old is a day, or an hour for traffic of fewer events than `few`.
    """
    rows = connection.execute(QUERIES["importance_due"], {"skip": list(skip), "few": few})
    return [model_id for (model_id,) in rows]


def traffic_payloads(connection: Connection, product: str, limit: int) -> list[dict[str, Any]]:
    """Return payloads that were scored within a week, a random sample."""
    rows = connection.execute(QUERIES["traffic_payloads"], {"product": product, "limit": limit})
    return [msgspec.json.decode(text) for (text,) in rows]


def store_importance(connection: Connection, *, fields: Sequence[FieldImportance], **columns: str | int) -> None:
    """Store the importance of a version's fields over some events."""
    connection.execute(QUERIES["store_importance"], {**columns, "fields": Jsonb(msgspec.to_builtins(fields))})


def make_partitions(connection: Connection) -> int:
    """Create the partitions of the coming days; return how many were new, 0 before migration 003."""
    return _count(connection, "make_reasons_partitions", DAYS_AHEAD)


def drop_partitions(connection: Connection, retention_days: int) -> int:
    """Drop whole days of reasons older than the retention; return the number of partitions."""
    return _count(connection, "drop_reasons_partitions", retention_days)


def _count(connection: Connection, query: str, days: int) -> int:
    if not reasons_exist(connection):
        return 0
    row = connection.execute(QUERIES[query], {"days": days}).fetchone()
    assert row is not None
    return int(row[0])
