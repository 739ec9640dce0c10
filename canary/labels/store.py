"""Labels in Postgres, and their counts per rollout once they have matured."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from psycopg.rows import class_row

from canary.labels.parsing import Label, products_unknown_error
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True, slots=True)
class DayToCount:
    rollout_id: str
    day: date


@dataclass(frozen=True, slots=True)
class LabelOutcome:
    """Events that both models scored, by decision pair. `fraud` and `legitimate` are counted among the matured."""

    canary_decision: str
    production_decision: str
    events: int
    matured: int
    fraud: int
    legitimate: int


@dataclass(frozen=True, slots=True)
class LabelWeight:
    """Matured legitimate events by decision pair, each weighted by 1 / propensity (canary/labels/weighting.py)."""

    canary_decision: str
    production_decision: str
    weight: float
    squares: float


def insert_labels(connection: Connection, labels: Sequence[Label], *, actor: str) -> int:
    """Insert labels and return how many were new; a repeated label changes nothing.

    Raises InputInvalid for unknown products.
    """
    products = sorted({label.product for label in labels})
    known = {row[0] for row in connection.execute(QUERIES["known_products"], {"products": products})}
    if unknown := [product for product in products if product not in known]:
        raise products_unknown_error(unknown)
    values = {
        "products": [label.product for label in labels],
        "event_ids": [label.event_id for label in labels],
        "labels": [label.label for label in labels],
        "sources": [label.source for label in labels],
        "times": [label.labelled_at for label in labels],
        "actor": actor,
    }
    return connection.execute(QUERIES["insert_labels"], values).rowcount


def count_labels(connection: Connection, *, maturity: timedelta) -> int:
    """Recount every (rollout, day) that may have changed, and return how many. Needs autocommit.

    An event counts once it is older than `maturity`: earlier labels are biased towards those who complain early.
    """
    since, now = _progress(connection)
    span = {"since": since, "now": now, "maturity": maturity}
    with connection.cursor(row_factory=class_row(DayToCount)) as cursor:
        days = cursor.execute(QUERIES["days_to_count"], span).fetchall()
    known, weighs = _counts_known_frauds(connection), _counts_weights(connection)
    for day in days:
        values = {"rollout_id": day.rollout_id, "day": day.day, "matured_before": now - maturity}
        connection.execute(QUERIES["count_day"], values)
        if known:
            connection.execute(QUERIES["count_known_frauds"], values)
        if weighs:
            connection.execute(QUERIES["count_weights"], values)
    connection.execute(QUERIES["set_label_progress"], {"now": now})
    return len(days)


def known_frauds(connection: Connection, rollout_ids: Sequence[str]) -> dict[str, tuple[int, int, int, int]]:
    """Return the known frauds of any age by who blocked or reviewed them; none before migration 006.

    Both models, the canary only, production only, neither.
    """
    if not _counts_known_frauds(connection):
        return {}
    rows = connection.execute(QUERIES["known_frauds"], {"rollout_ids": list(rollout_ids)}).fetchall()
    return {rollout_id: (both, canary, production, neither) for rollout_id, both, canary, production, neither in rows}


def label_outcomes(connection: Connection, rollout_id: str) -> list[LabelOutcome]:
    with connection.cursor(row_factory=class_row(LabelOutcome)) as cursor:
        return cursor.execute(QUERIES["label_outcomes"], {"rollout_id": rollout_id}).fetchall()


def label_weights_of(connection: Connection, rollout_id: str) -> list[LabelWeight]:
    """Return the weights of a rollout's matured legitimate events; none before migration 012."""
    if not _counts_weights(connection):
        return []
    rows = connection.execute(QUERIES["label_weights"], {"rollout_id": rollout_id}).fetchall()
    return [LabelWeight(*row) for row in rows]


def _counts_weights(connection: Connection) -> bool:
    row = connection.execute(QUERIES["counts_weights"]).fetchone()
    return bool(row and row[0])


def _counts_known_frauds(connection: Connection) -> bool:
    row = connection.execute(QUERIES["counts_known_frauds"]).fetchone()
    return bool(row and row[0])


def _progress(connection: Connection) -> tuple[datetime, datetime]:
    """Return up to when labels are counted, and the database's clock."""
    row = connection.execute(QUERIES["label_progress"]).fetchone()
    assert row is not None
    return row[0], row[1]
