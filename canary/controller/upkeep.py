"""Upkeep of the tables of the log and the canary. Every function runs in the caller's transaction."""

from canary.controller.store import QUERIES
from runtime.postgres import Connection


def make_partitions(connection: Connection, *, days_ahead: int) -> int:
    """Create the log's partitions for the coming days; return how many were new."""
    return _count(connection, "make_partitions", {"days_ahead": days_ahead})


def drop_partitions(connection: Connection, *, retention_days: int) -> int:
    """Drop whole days of the log older than RETENTION_DAYS; return the number of partitions.

    The setting is at least 31: sira_drop_partitions refuses to touch the last 30 days and today.
    """
    return _count(connection, "drop_partitions", {"retention_days": retention_days})


def drop_evidence(connection: Connection, *, retention_days: int) -> int:
    """Drop verdicts and evidence of rollouts that ended before the retention; return the number of rollouts."""
    return _count(connection, "drop_evidence", {"retention_days": retention_days})


def newest_rows(connection: Connection) -> dict[str, float]:
    """Return the time of each product's newest logged row, in epoch seconds, to half a minute."""
    return dict(connection.execute(QUERIES["newest_rows"]).fetchall())


def thin_verdicts(connection: Connection) -> int:
    """Delete verdicts that repeat the one before, and return how many; the remaining ones can still be recomputed."""
    return connection.execute(QUERIES["thin_verdicts"]).rowcount


def drop_production_errors(connection: Connection) -> int:
    """Delete counts older than two days; the dispersion of errors is estimated from the last one."""
    return connection.execute(QUERIES["drop_production_errors"]).rowcount


def _count(connection: Connection, query: str, values: dict[str, int]) -> int:
    row = connection.execute(QUERIES[query], values).fetchone()
    assert row is not None
    return int(row[0])
