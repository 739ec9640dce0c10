"""A prediction log of any size, generated inside Postgres, with the sums and evidence that shipping would create."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import msgspec

from canary.controller.sources import Sources
from canary.controller.tick import tick
from canary.rollout import operations
from canary.rollout.request import CanaryToStart
from lab.benchmarks.model import Row
from lab.benchmarks.scale.seed import ACTOR, add_version
from lab.benchmarks.scale.workspace import QUERIES
from registry.model_version import ModelVersion, Status
from runtime.postgres import Connection
from runtime.reading import read

PRODUCTS = tuple(f"product_{number}" for number in range(5))
ROLLED_OUT = PRODUCTS[0]
PAYLOADS = 1_000
ROLLOUT_DAYS = 7
UNJUDGED = timedelta(minutes=10)


@dataclass(frozen=True)
class GeneratedLog:
    """Filled day by day, yesterday first. The first product has had a canary at 10 % for the last seven days."""

    connection: Connection
    last_day: date
    rows_per_day: int

    def days(self, count: int) -> Iterator[int]:
        """Add that many days; yield the number of days so far after each."""
        for ago in range(count):
            self._add_day(self.last_day - timedelta(days=ago))
            yield ago + 1

    def judge(self) -> None:
        """Add the verdicts of a week: one of the judge, and repetitions of it."""
        sources = Sources(alertmanager_url=None, prometheus_url=None)
        tick(self.connection, ACTOR, sources, stale_seconds=7.5)
        sources.close()
        end = _midnight(self.last_day + timedelta(days=1))
        span = {"since": end - timedelta(days=ROLLOUT_DAYS), "until": end}
        self.connection.execute(QUERIES["repeat_verdict"], span)

    def some_predictions(self, count: int, days: int) -> Iterator[str]:
        """Yield ids of rows spread over the last `days`; an id follows from its event, see the query."""
        for event_id in self.some_events(count, days):
            yield str(UUID(hashlib.md5(event_id.encode()).hexdigest()))

    def some_events(self, count: int, days: int) -> Iterator[str]:
        """Yield event ids of rows spread over the last `days`; the routing key of each is the same."""
        for number in range(count):
            day = self.last_day - timedelta(days=number % days)
            yield f"{day:%Y%m%d}-{number * 7919 % self.rows_per_day:09d}"

    def add_last_hour(self) -> None:
        """Add what the last hour would have left of live traffic: the log itself ends with yesterday."""
        self.connection.execute(QUERIES["add_last_hour"], {"rows_per_hour": self.rows_per_day // 24})

    def _add_day(self, day: date) -> None:
        values = {"day": day, "rows": self.rows_per_day, "products": len(PRODUCTS), "payloads": PAYLOADS}
        queries = ["generate_day", "add_hours_of_day"]
        if day > self.last_day - timedelta(days=ROLLOUT_DAYS):
            queries += ["pair_day", "add_evidence_of_day", "add_paired_evidence_of_day", "label_day"]
        self.connection.execute(QUERIES["make_log_partitions"], {"first": day, "last": day})
        with self.connection.transaction():
            for query in ("plan_whole_days", *queries):
                self.connection.execute(QUERIES[query], values)


def begin(connection: Connection, first: ModelVersion, payloads: Sequence[Row], *, rows_per_day: int) -> GeneratedLog:
    """Create the products and the rollout; the log has no rows yet."""
    last_day = datetime.now(UTC).date() - timedelta(days=1)
    connection.execute(QUERIES["make_log_sources"])
    for number, product in enumerate(PRODUCTS):
        production = add_version(connection, first, product, "1", Status.PRODUCTION)
        values = {"number": number, "product": product, "artifact_sha256": production.sha256}
        values |= {"production_model_id": production.model_id}
        rollout: dict[str, object] = {"canary_model_id": None, "rollout_id": None, "rollout_from": None}
        if product == ROLLED_OUT:
            canary = add_version(connection, first, product, "2", Status.STAGING)
            rollout = _start(connection, canary, last_day - timedelta(days=ROLLOUT_DAYS - 1))
        connection.execute(QUERIES["add_log_product"], values | rollout)
    for number, payload in enumerate(payloads[:PAYLOADS]):
        text = msgspec.json.encode(payload, order="sorted")
        digest = hashlib.sha256(text).hexdigest()
        stored = {"number": number, "payload": text.decode(), "payload_sha256": digest}
        connection.execute(QUERIES["add_log_payload"], stored)
    return GeneratedLog(connection, last_day, rows_per_day)


def reopen(connection: Connection, rows: int) -> tuple[GeneratedLog, int] | None:
    """Return the log that an earlier run has left, and its days; None if the database has none of this size."""
    by_day = dict(connection.execute(QUERIES["log_by_day"]).fetchall())
    if not by_day or set(by_day.values()) != {rows // len(by_day)}:
        return None
    connection.execute(QUERIES["make_log_sources"])
    connection.execute(QUERIES["reopen_log_products"])
    return GeneratedLog(connection, max(by_day), rows // len(by_day)), len(by_day)


def _start(connection: Connection, canary: ModelVersion, since: date) -> dict[str, object]:
    """Start a rollout on that day, judged until shortly before the end of the log; return its columns of the log."""
    request = read(CanaryToStart, {"product": canary.product, "canary_percent": 10, "canary_model_id": canary.model_id})
    with connection.transaction():
        rollout, _ = operations.start_or_change(connection, request, actor=ACTOR)
    judged = _midnight(since + timedelta(days=ROLLOUT_DAYS)) - UNJUDGED
    values = {"rollout_id": rollout.rollout_id, "since": _midnight(since), "judged": judged}
    connection.execute(QUERIES["backdate_rollout"], values)
    return {"canary_model_id": canary.model_id, "rollout_id": rollout.rollout_id, "rollout_from": since}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
