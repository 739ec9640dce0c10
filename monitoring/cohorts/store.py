"""Cohorts in Postgres. The caller owns the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg.rows import class_row

from monitoring.cohorts.layout import Cohort, CohortPlace, CohortTally
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True, slots=True)
class HourToCount:
    """An hour of the log and the versions whose events in it have become more; lists of equal length."""

    hour: datetime
    products: list[str]
    model_ids: list[str]
    predictions: list[int]

    @property
    def day(self) -> date:
        return self.hour.astimezone(UTC).date()


LabelledPredictions = Sequence[tuple[date, str]]
"""Days and ids of predictions."""


def cohorts_exist(connection: Connection) -> bool:
    """Return whether migration 009 has run."""
    return bool(_one(connection, "cohorts_exist"))


def lock_cohorts(connection: Connection) -> bool:
    """Return whether this transaction may count."""
    return bool(_one(connection, "lock_cohorts"))


def clock(connection: Connection) -> datetime:
    now: datetime = _one(connection, "clock")
    return now


def hours_to_count(
    connection: Connection, since: datetime, now: datetime, *, max_open: int, max_hours: int
) -> list[HourToCount]:
    """Return hours to count, newest first; the present one only while it has at most `max_open` events."""
    values = {"since": since, "now": now, "max_open": max_open, "max_hours": max_hours}
    with connection.cursor(row_factory=class_row(HourToCount)) as cursor:
        return cursor.execute(QUERIES["hours_to_count"], values).fetchall()


def count_hour(connection: Connection, hour: HourToCount) -> None:
    """Count an hour's events again and add to the cohorts what has changed."""
    connection.execute(
        QUERIES["count_hour"],
        {
            "hour": hour.hour,
            "day": hour.day,
            "week": hour.day - timedelta(days=hour.day.weekday()),
            "products": hour.products,
            "model_ids": hour.model_ids,
            "predictions": hour.predictions,
        },
    )


def labelled_in_hour(connection: Connection, hour: HourToCount) -> LabelledPredictions:
    """Return the events of an hour whose labels came before them."""
    return connection.execute(QUERIES["labelled_in_hour"], {"hour": hour.hour, "day": hour.day}).fetchall()


def labels_through(connection: Connection) -> datetime:
    row = connection.execute(QUERIES["labels_through"]).fetchone()
    return row[0] if row else datetime(1970, 1, 1, tzinfo=UTC)


def next_labels(connection: Connection, since: datetime, now: datetime, *, max_labels: int) -> datetime:
    """Return the end of a span from `since` on in which at most `max_labels` labels were received."""
    until: datetime = _one(connection, "next_labels", {"since": since, "now": now, "max_labels": max_labels})
    return until


def labelled_since(connection: Connection, since: datetime, until: datetime, first_day: date) -> LabelledPredictions:
    """Return the events whose labels were received in a span and are not counted."""
    values = {"since": since, "until": until, "first_day": first_day}
    return connection.execute(QUERIES["labelled_since"], values).fetchall()


def count_labelled(connection: Connection, events: LabelledPredictions) -> int:
    """Add the labels of events to their cohorts; return how many had labels that were not counted."""
    if not events:
        return 0
    values = {"days": [day for day, _ in events], "prediction_ids": [prediction_id for _, prediction_id in events]}
    return int(_one(connection, "count_labelled", values))


def store_labels_through(connection: Connection, until: datetime) -> None:
    connection.execute(QUERIES["store_labels_through"], {"until": until})


def drop_counted(connection: Connection, before: date) -> int:
    """Forget what hours and labels before a day have added; return how many rows. Their cohorts stay."""
    values = {"before": before}
    return sum(connection.execute(QUERIES[query], values).rowcount for query in ("drop_hours", "drop_labels"))


def cohorts(connection: Connection, product: str, since: date) -> list[Cohort]:
    """Return a product's cohorts from a week on, newest first."""
    values = {"product": product, "since": since}
    sums: dict[tuple[date, str, str], dict[CohortPlace, CohortTally]] = {}
    for row in connection.execute(QUERIES["cohort_sums"], values):
        week, model_id, version = row[:3]
        sums.setdefault((week, model_id, version), {})[CohortPlace(*row[3:7])] = CohortTally(*row[7:])
    ages: dict[tuple[date, str], dict[int, int]] = {}
    for week, model_id, age, events in connection.execute(QUERIES["label_ages"], values):
        ages.setdefault((week, model_id), {})[age] = events
    return [
        Cohort(week, model_id, version, places, ages.get((week, model_id), {}))
        for (week, model_id, version), places in sorted(sums.items(), reverse=True)
    ]


def _one(connection: Connection, query: str, values: Mapping[str, Any] | None = None) -> Any:
    row = connection.execute(QUERIES[query], values).fetchone()
    assert row is not None
    return row[0]
