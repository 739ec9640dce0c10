"""The payload fields that Postgres knows of a product's events. Reads no Parquet: serving processes import this."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from archive.postgres import store as archive_store
from backtest.request import BacktestToRun
from backtest.unknown_fields import asked_fields, unknown_fields
from runtime.postgres import Connection
from runtime.queries import load_queries
from runtime.reading import InputInvalid

QUERIES = load_queries(Path(__file__).parent / "queries.sql")
# Rows that are read to see which fields events have: so many of each of the newest hours of the period.
_HOURS, _ROWS_PER_HOUR = 10, 200


def check_fields_early(connection: Connection, request: BacktestToRun, product: str, since: date, until: date) -> None:
    """Raise InputInvalid, naming every field that no event has; pass if days of the period are in the archive alone.

    The backtest itself looks at those.
    """
    asked = asked_fields(request)
    if asked and not _has_days_only_in_archive(connection, product, since, until):
        refuse_unknown(asked, fields_in_postgres(connection, product, since, until), product)


def refuse_unknown(asked: Mapping[str, str], known: set[str], product: str) -> None:
    """Raise InputInvalid, naming every asked field that is not known."""
    if violations := list(unknown_fields(asked, known, product)):
        raise InputInvalid(violations)


def fields_in_postgres(connection: Connection, product: str, since: date, until: date) -> set[str]:
    """Return the fields in the signature of any version of the product, and in recent events of the period."""
    span = {"product": product, "since": since, "until": until, "hours": _HOURS, "rows": _ROWS_PER_HOUR}
    return {name for (name,) in connection.execute(QUERIES["fields"], span)}


def _has_days_only_in_archive(connection: Connection, product: str, since: date, until: date) -> bool:
    if not archive_store.is_migrated(connection):
        return False
    archived = archive_store.recorded_days(connection, product=product, kind="log", since=since, until=until)
    oldest = archive_store.oldest_day(connection)
    return bool(archived) and (oldest is None or archived[0].day < oldest)
