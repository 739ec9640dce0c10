"""Keep the cohorts' sums: new hours of the log and new labels are counted, each once. Runs in the controller.

The log is never read as a whole: an hour is read when sira_prediction_hours has more events of it than were counted,
and a label leads to its event by an index.
"""

import logging
from datetime import UTC, datetime, timedelta

from monitoring.cohorts import store
from runtime.postgres import Connection

log = logging.getLogger("sira.monitoring.cohorts")

LOOK_SECONDS = 60
WEEKS = 26
# Hours and labels of this time are counted; a label of an older event is not.
COUNTED = timedelta(weeks=WEEKS)
# An hour that is over may still grow, by the backlog of an outage. Most looks search the last hours only.
RECENT = timedelta(hours=3)
LOOKS_PER_SEARCH = 60
# The present hour is counted again at every look while it has at most this many events.
MAX_OPEN_EVENTS = 50_000
MAX_HOURS = 24
MAX_LABELS = 10_000
MAX_SPANS = 10
# A label's transaction may commit later than the time in its row says.
OVERLAP = timedelta(minutes=10)


class CohortCounter:
    """One per controller. Any number may look: one counts."""

    def __init__(self) -> None:
        self._looks = 0

    def look(self, connection: Connection) -> int:
        """Count what is new, at most MAX_HOURS hours and MAX_SPANS times MAX_LABELS labels; return how many of both."""
        if not store.cohorts_exist(connection):
            return 0
        now = store.clock(connection)
        far = self._looks % LOOKS_PER_SEARCH == 0
        hours = self._count_hours(connection, now - (COUNTED if far else RECENT), now)
        # The next look searches everything again while there is more to count than one look may.
        self._looks = 0 if far and hours == MAX_HOURS else self._looks + 1
        return hours + _count_labels(connection, now)

    def _count_hours(self, connection: Connection, since: datetime, now: datetime) -> int:
        found = store.hours_to_count(connection, since, now, max_open=MAX_OPEN_EVENTS, max_hours=MAX_HOURS)
        for counted, hour in enumerate(found):
            with connection.transaction():
                if not store.lock_cohorts(connection):
                    return counted
                store.count_hour(connection, hour)
                store.count_labelled(connection, store.labelled_in_hour(connection, hour))
        return len(found)


def _count_labels(connection: Connection, now: datetime) -> int:
    counted = 0
    for _ in range(MAX_SPANS):
        with connection.transaction():
            if not store.lock_cohorts(connection):
                return counted
            through = store.labels_through(connection)
            until = store.next_labels(connection, through, now, max_labels=MAX_LABELS)
            first_day = (now - COUNTED).astimezone(UTC).date()
            counted += store.count_labelled(
                connection, store.labelled_since(connection, through - OVERLAP, until, first_day)
            )
            store.store_labels_through(connection, until)
        if until >= now:
            break
    return counted


def drop_counted(connection: Connection) -> int:
    """Forget what hours and labels that are no longer counted have added; return how many rows."""
    if not store.cohorts_exist(connection):
        return 0
    # A week more than is counted, so that nothing that may still change is forgotten.
    return store.drop_counted(connection, (store.clock(connection) - COUNTED - timedelta(weeks=1)).date())
