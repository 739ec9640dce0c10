"""What the overview reads. The caller owns the transaction; the number of queries does not grow with the products."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg.rows import class_row

from console.overview.traffic import KeptSlowness, ProductTraffic, read_traffic
from monitoring import store as monitoring_store
from monitoring.breaker import store as breaker_store
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product; the fields of its production version are None while it has none."""

    product: str
    model_id: str | None
    name: str | None
    version: str | None
    since: datetime | None
    versions: int


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """A rollout that is live or was rolled back today, with its latest verdict."""

    product: str
    rollout_id: str
    status: str
    canary_percent: float
    step: int
    steps: int
    step_started_at: datetime
    ended_at: datetime | None
    canary: str
    verdict: str | None
    reasons: Sequence[str] | None
    judged_at: datetime | None

    @property
    def live(self) -> bool:
        return self.status in ("running", "paused")


@dataclass(frozen=True, slots=True)
class HourOfDecisions:
    """What a product decided in the hour from `hour`; `failed` events got no decision."""

    product: str
    hour: datetime
    allowed: int
    reviewed: int
    blocked: int
    failed: int


@dataclass(frozen=True, slots=True)
class Facts:
    """One moment of the database, as the overview needs it. `guards`: decisions whose share has jumped, by product.

    `tripped`: products whose breaker makes reviews of blocks.
    """

    products: tuple[ProductRow, ...]
    rollouts: tuple[RolloutRow, ...]
    decisions: Mapping[str, Sequence[HourOfDecisions]]
    traffic: Mapping[str, ProductTraffic]
    guards: Mapping[str, tuple[str, ...]]
    judged_at: datetime | None
    tripped: tuple[str, ...] = ()


def read_facts(connection: Connection, now: datetime, slowness: KeptSlowness) -> Facts:
    values = {"now": now}
    with connection.cursor(row_factory=class_row(ProductRow)) as products:
        found = products.execute(QUERIES["products"]).fetchall()
    with connection.cursor(row_factory=class_row(RolloutRow)) as rollouts:
        running = rollouts.execute(QUERIES["rollouts"], values).fetchall()
    hours: dict[str, list[HourOfDecisions]] = {}
    with connection.cursor(row_factory=class_row(HourOfDecisions)) as cursor:
        for hour in cursor.execute(QUERIES["decisions_by_hour"], values):
            hours.setdefault(hour.product, []).append(hour)
    lease = connection.execute(QUERIES["lease"]).fetchone()
    return Facts(
        tuple(found),
        tuple(running),
        hours,
        read_traffic(connection, now, slowness),
        _guards(connection),
        lease and lease[0],
        tuple(breaker.product for breaker in breaker_store.breakers(connection) if breaker.tripped_at),
    )


def _guards(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Return the decisions whose share has jumped; nothing before migration 004."""
    if not monitoring_store.guard_exists(connection):
        return {}
    rows = monitoring_store.guard_rows(connection)
    return {product: tuple(name for name, firing in row.firing.items() if firing) for product, row in rows.items()}
