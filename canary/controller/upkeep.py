"""What keeps the tables of the log and the canary in shape. Every function runs in the caller's transaction."""

from canary.controller.store import QUERIES
from runtime.postgres import Connection


def make_partitions(connection: Connection, *, days_ahead: int) -> int:
    """Partitions of the log for the days to come; how many were new."""
    return _count(connection, "make_partitions", {"days_ahead": days_ahead})


def drop_partitions(connection: Connection, *, retention_days: int) -> int:
    """Whole days of the log that are older than the retention, at least 31 days; how many partitions went."""
    return _count(connection, "drop_partitions", {"retention_days": retention_days})


def drop_evidence(connection: Connection, *, retention_days: int) -> int:
    """Verdicts and evidence, together, of rollouts that ended before the retention; of how many rollouts."""
    return _count(connection, "drop_evidence", {"retention_days": retention_days})


def newest_rows(connection: Connection) -> dict[str, float]:
    """By product, the epoch seconds up to which its log has rows, to half a minute."""
    return dict(connection.execute(QUERIES["newest_rows"]).fetchall())


def thin_verdicts(connection: Connection) -> int:
    """Verdicts that only repeat the one before; enough stay to recompute every one that does."""
    return connection.execute(QUERIES["thin_verdicts"]).rowcount


def drop_production_errors(connection: Connection) -> int:
    """Rows older than the day that the dispersion of errors is estimated on."""
    return connection.execute(QUERIES["drop_production_errors"]).rowcount


def _count(connection: Connection, query: str, values: dict[str, int]) -> int:
    row = connection.execute(QUERIES[query], values).fetchone()
    assert row is not None
    return int(row[0])
