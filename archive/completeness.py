"""Rows of the log that should be in Postgres or in the archive, and are not.

Three counts per product and hour do not depend on one another: what each worker has shipped (kept on its own disk),
what Postgres counted as it inserted rows, and the manifests of the archive. A Postgres that was restored from an older
backup has fewer than were shipped; a deleted row leaves fewer than were counted.
"""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from archive.postgres import store
from runtime import metrics
from runtime.postgres import Connection

log = logging.getLogger("sira.archive")

CHECK_SECONDS = 60.0
# Counting the rows themselves reads the days that are not archived.
COUNT_ROWS_SECONDS = 3600.0
LOOK_BACK = timedelta(days=40)
# The newest of them: without an archive, it would be all.
MAX_COUNTED_DAYS = 5
# Each is a series; a longer loss is seen in its first hours.
MAX_HOURS = 48

Missing = Mapping[tuple[str, datetime], int]
"""Missing rows by product and hour."""


class LogCheck:
    """The controller's job; it remembers what it last found, so that a series whose rows are back becomes 0."""

    def __init__(self) -> None:
        self._published: set[tuple[str, str]] = set()
        self._in_rows: Missing = {}
        self._next_count = 0.0

    def work(self, connection: Connection) -> int:
        """Compare the counts, once an hour the rows too, and publish what is missing; return the number of hours."""
        if not store.is_migrated(connection):
            return 0
        now = datetime.now(UTC)
        if time.monotonic() >= self._next_count:
            self._in_rows = missing_rows(connection, now)
            store.drop_shipped_hours(connection)
            self._next_count = time.monotonic() + COUNT_ROWS_SECONDS
        found = dict(missing_counts(connection, now))
        for hour, rows in self._in_rows.items():
            found[hour] = max(rows, found.get(hour, 0))
        self._publish(found)
        return len(found)

    def _publish(self, found: Missing) -> None:
        shown = {(product, _text(hour)): rows for (product, hour), rows in list(found.items())[:MAX_HOURS]}
        for product, hour in self._published - shown.keys():
            metrics.log_rows_missing.labels(product, hour).set(0)
        for (product, hour), rows in shown.items():
            if (product, hour) not in self._published:
                log.error("log_rows_missing", extra={"product": product, "hour": hour, "rows": rows})
            metrics.log_rows_missing.labels(product, hour).set(rows)
        self._published |= shown.keys()


def missing_counts(connection: Connection, now: datetime) -> Missing:
    """Return what is missing according to the counts alone."""
    hours = store.hours_of_log(connection, now - LOOK_BACK)
    missing = {(hour.product, hour.hour): hour.missing(hour.counted) for hour in hours}
    return {key: rows for key, rows in missing.items() if rows}


def missing_rows(connection: Connection, now: datetime) -> Missing:
    """Return what is missing when the rows are counted of the newest days that are not in the archive completely."""
    found = {}
    hours = store.hours_of_log(connection, now - LOOK_BACK)
    for day in store.days_behind(connection, now.date())[-MAX_COUNTED_DAYS:]:
        counted = store.count_rows(connection, "log", day)
        for hour in hours:
            if hour.hour.date() == day:
                rows = hour.missing(counted.get(hour.product, {}).get(hour.hour.hour, 0))
                if rows:
                    found[hour.product, hour.hour] = rows
    return found


def _text(hour: datetime) -> str:
    return f"{hour:%Y-%m-%dT%H:00Z}"
