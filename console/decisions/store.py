"""What the pages of decisions read. The caller owns the transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.rows import class_row

from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

MAX_FOUND = 50
# A search that takes longer reads too much: the page asks for a shorter span.
MAX_SEARCH_MILLISECONDS = 2_000


@dataclass(frozen=True, slots=True)
class FoundDecision:
    """One row of a search; no payload."""

    prediction_id: str
    created_at: datetime
    product: str
    event_id: str
    routing_key: str
    model_version: str
    score: float | None
    decision: str | None
    variant: str
    outcome: str


@dataclass(frozen=True, slots=True)
class LoggedLabel:
    label: str
    source: str
    labelled_at: datetime
    received_at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class OtherOpinion:
    """The scores of both models of a rollout on one event."""

    rollout_id: str
    canary_score: float
    canary_decision: str
    production_score: float
    production_decision: str


def limit_time(connection: Connection, milliseconds: int = MAX_SEARCH_MILLISECONDS) -> None:
    """Give each further statement of this transaction at most so long."""
    connection.execute(QUERIES["limit_time"], {"milliseconds": milliseconds})


def by_event(connection: Connection, event_id: str, product: str | None) -> list[FoundDecision]:
    return _found(connection, "by_event", {"event_id": event_id, "product": product})


def by_routing_key(
    connection: Connection,
    routing_key: str,
    product: str | None,
    first: datetime,
    last: datetime,
    *,
    decision: str | None = None,
    limit: int = MAX_FOUND,
) -> list[FoundDecision]:
    values = {"routing_key": routing_key, "product": product, "first": first, "last": last, "decision": decision}
    return _found(connection, "by_routing_key", {**values, "limit": limit})


def by_time(
    connection: Connection, product: str | None, decision: str | None, first: datetime, last: datetime
) -> list[FoundDecision]:
    return _found(connection, "by_time", {"product": product, "decision": decision, "first": first, "last": last})


def labels(connection: Connection, product: str, event_id: str) -> list[LoggedLabel]:
    with connection.cursor(row_factory=class_row(LoggedLabel)) as cursor:
        return cursor.execute(QUERIES["labels"], {"product": product, "event_id": event_id}).fetchall()


def paired(connection: Connection, product: str, event_id: str, prediction_id: str) -> OtherOpinion | None:
    values = {"product": product, "event_id": event_id, "prediction_id": prediction_id}
    with connection.cursor(row_factory=class_row(OtherOpinion)) as cursor:
        return cursor.execute(QUERIES["paired"], values).fetchone()


def products(connection: Connection) -> list[str]:
    return [product for (product,) in connection.execute(QUERIES["products"]).fetchall()]


def _found(connection: Connection, query: str, values: Mapping[str, Any]) -> list[FoundDecision]:
    with connection.cursor(row_factory=class_row(FoundDecision)) as cursor:
        return cursor.execute(QUERIES[query], {"limit": MAX_FOUND, **values}).fetchall()
