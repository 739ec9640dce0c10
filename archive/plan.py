"""Which rows of a day go into which part."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from archive.parts.manifest import Hours

MAX_PART_ROWS = 2_000_000
# Rows are shipped within a second; this leaves time for a worker that was away for a moment.
CLOSED_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PartPlan:
    """Hours of a day, and how many rows they add.

    `late`: the archive has rows of these hours, and only those that it lacks are added.
    """

    hours: tuple[int, ...]
    rows: int
    late: bool = False


def plan_parts(counted: Hours, archived: Hours, max_rows: int = MAX_PART_ROWS) -> list[PartPlan]:
    """Return the parts that bring the archive up to the counts of Postgres, in the order to write them.

    A part reads hours of at most `max_rows` rows, or one hour of more. An hour of which Postgres has fewer rows than
    the archive needs no part: rows are missing in Postgres, not here.
    """
    new = {hour: rows for hour, rows in sorted(counted.items()) if rows and hour not in archived}
    late = {hour: rows for hour, rows in sorted(counted.items()) if 0 < archived.get(hour, 0) < rows}
    return [PartPlan(hours, sum(new[hour] for hour in hours)) for hours in _grouped(new, max_rows)] + [
        PartPlan(hours, sum(late[hour] - archived[hour] for hour in hours), late=True)
        for hours in _grouped(late, max_rows)
    ]


def missing(counted: Hours, held: Hours) -> dict[int, int]:
    """Return how many rows of each hour are counted but not held."""
    return {hour: rows - held.get(hour, 0) for hour, rows in sorted(counted.items()) if rows > held.get(hour, 0)}


def _grouped(rows: Hours, max_rows: int) -> Iterator[tuple[int, ...]]:
    group: tuple[int, ...] = ()
    total = 0
    for hour, count in rows.items():
        if group and total + count > max_rows:
            yield group
            group, total = (), 0
        group += (hour,)
        total += count
    if group:
        yield group


def newest_closed(now: datetime) -> date:
    """Return the newest day that is closed at a time."""
    return (now.astimezone(UTC) - CLOSED_AFTER).date() - timedelta(days=1)
