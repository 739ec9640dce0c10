"""A product's past week, written through the statements that serve: what the guard compares the present with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from lab.demo.history import answered
from lab.load.callers import Payload
from monitoring.guard import BUCKET_SECONDS, REFERENCE_DAYS
from monitoring.store import QUERIES
from registry.model_version import ModelVersion
from runtime.postgres import Connection, connect
from scoring.log.prediction import Prediction, copy_text
from scoring.log.store import prepare_shipping, ship

# The guard reads the hour before, the same and the next; one more, so that a run may cross the full hour.
HOURS_AROUND = (-1, 0, 1, 2)
ROWS_PER_SHIPMENT = 5_000
_HOUR_SECONDS = 3600
SEED = 20_261_127


@dataclass(frozen=True)
class Scored:
    """Payloads and what the version scores them, (n,)."""

    payloads: Sequence[Payload]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Habit:
    """A product's usual traffic: requests per second, and the shares of reviews and blocks among them.

    Besides, every minute a burst of `burst` events that are blocked comes within BUCKET_SECONDS.
    """

    per_second: float
    review: float
    block: float
    burst: int = 0

    @property
    def bursts_share(self) -> float:
        """The share of all events that come in bursts."""
        return self.burst / (self.burst + 60.0 * self.per_second)


@dataclass(frozen=True)
class Past:
    """The events of a product's past: `usual` ones, and those that come in bursts.

    The log gets `per_hour` of each hour, a sample of what `habit` says; the guard's own counts have all of them.
    """

    usual: Scored
    bursts: Scored
    habit: Habit
    per_hour: int


def write(database_url: str, version: ModelVersion, past: Past) -> int:
    """Ship the events of the last seven days that the guard reads, and count those of the last; return how many."""
    rng, now, shipped = np.random.default_rng(SEED), datetime.now(UTC), 0
    with connect(database_url, name="past", autocommit=True, statement_timeout_ms=0) as shipping:
        prepare_shipping(shipping)
        for start in _past_hours(now):
            rows = list(_rows(version, past, start, rng))
            for first in range(0, len(rows), ROWS_PER_SHIPMENT):
                with shipping.transaction():
                    lines = copy_text(rows[first : first + ROWS_PER_SHIPMENT])
                    shipped += ship(shipping, {"predictions": [lines]}).predictions
        _count_decisions(shipping, version.product, past.habit, now, rng)
    return shipped


def _count_decisions(
    connection: Connection, product: str, habit: Habit, now: datetime, rng: np.random.Generator
) -> None:
    """Count the decisions of the last hours in buckets of ten seconds, as the guard does: how much blocks cluster."""
    first = now - timedelta(hours=len(HOURS_AROUND))
    buckets = len(HOURS_AROUND) * _HOUR_SECONDS // BUCKET_SECONDS
    requests = rng.poisson(habit.per_second * BUCKET_SECONDS, buckets)
    reviewed, blocked = (rng.binomial(requests, share) for share in (habit.review, habit.block))
    in_burst = habit.burst * (rng.integers(0, 60 // BUCKET_SECONDS, buckets) == 0)
    counts = np.stack([requests + in_burst, reviewed, blocked + in_burst], axis=1).tolist()
    with connection.cursor() as cursor:
        cursor.executemany(
            QUERIES["insert_decisions"],
            [
                {
                    "product": product,
                    "now": first + timedelta(seconds=BUCKET_SECONDS * bucket),
                    **dict(zip(("requests", "reviewed", "blocked"), three, strict=True)),
                }
                for bucket, three in enumerate(counts)
            ],
        )


def _past_hours(now: datetime) -> Iterator[datetime]:
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for day in range(1, REFERENCE_DAYS + 1):
        for around in HOURS_AROUND:
            yield hour - timedelta(days=day, hours=-around)


def _rows(version: ModelVersion, past: Past, start: datetime, rng: np.random.Generator) -> Iterator[Prediction]:
    """Yield the rows of one hour."""
    of_bursts = int(rng.binomial(past.per_hour, past.habit.bursts_share))
    sources = (("usual", past.usual, past.per_hour - of_bursts), ("burst", past.bursts, of_bursts))
    for kind, source, number in sources:
        places = rng.integers(0, len(source.payloads), number).tolist()
        times = (np.sort(rng.uniform(0.0, _HOUR_SECONDS, number)) + start.timestamp()).tolist()
        for n, (place, at) in enumerate(zip(places, times, strict=True)):
            event_id = f"past-{start:%d-%H}-{kind}-{n}"
            yield answered(version, source.payloads[place], float(source.scores[place]), event_id, at)
