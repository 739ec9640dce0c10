"""Search decisions, and show one: score, payload, reasons, what else that key did, and a proof of the score."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from canary.rollout import store as rollout_store
from console.charts import score_scale
from console.decisions import reasons, store
from console.decisions.recompute import recompute
from console.decisions.store import FoundDecision
from console.pages import Elsewhere, PageRoute, Screen, Visit, path_to
from edge.control.routes import Access
from edge.problems import HttpError
from registry import RegistryError
from registry.store import get_version
from runtime.postgres import Connection
from runtime.reading import InputInvalid, Violation
from scoring.log.store import StoredPrediction, find_prediction

DECISIONS = ("allow", "review", "block")
MAX_KEY_DECISIONS = 10
KEY_SPAN = timedelta(hours=1)
DEFAULT_SPAN = timedelta(minutes=15)
PATH = path_to("decisions")


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for: an event, or a routing key, or a span of time; the rest narrows it."""

    event_id: str | None
    routing_key: str | None
    product: str | None
    decision: str | None
    first: datetime
    last: datetime


def search(visit: Visit) -> Screen | Elsewhere:
    wanted = visit.query.get("id", "").strip()
    if _is_uuid(wanted):
        return Elsewhere(path_to("decisions", wanted))
    found: list[FoundDecision] = []
    fault, status = "", 200
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        products = store.products(connection)
        try:
            looked_for = read_search(visit.query, visit.now)
            store.limit_time(connection)
            found = _look(connection, looked_for)
        except InputInvalid as invalid:
            fault, status = str(invalid), 422
        except psycopg.errors.QueryCanceled:
            seconds = store.MAX_SEARCH_MILLISECONDS / 1000
            fault = f"the search took longer than {seconds:g} s: choose a shorter span, or search by event id"
    values = {
        "found": found,
        "fault": fault,
        "fields": visit.query,
        "products": products,
        "decisions": DECISIONS,
        "span": DEFAULT_SPAN,
        "limit": store.MAX_FOUND,
        "searched": any(
            visit.query.get(name) for name in ("event_id", "routing_key", "product", "decision", "from", "to")
        ),
    }
    return Screen("decisions/search.html.j2", "Decisions", "decisions", values, status=status)


def read_search(fields: Mapping[str, str], now: datetime) -> Search:
    """Read the form's fields; without a span, the last minutes. Raises InputInvalid."""
    faults = []
    times: dict[str, datetime] = {}
    for name, default in (("to", now), ("from", None)):
        text = fields.get(name, "").strip()
        try:
            at = datetime.fromisoformat(text) if text else default or times.get("to", now) - DEFAULT_SPAN
            times[name] = at if at.tzinfo else at.replace(tzinfo=UTC)
        except ValueError:
            faults.append(Violation(name, "must be a time such as 2026-11-27T14:00"))
    decision = fields.get("decision") or None
    if decision not in (None, *DECISIONS):
        faults.append(Violation("decision", f"must be {', '.join(DECISIONS)} or empty"))
    if len(times) == 2 and times["from"] > times["to"]:
        faults.append(Violation("from", "must not be after the end"))
    if faults:
        raise InputInvalid(faults)
    event_id, routing_key, product = (
        fields.get(name, "").strip() or None for name in ("event_id", "routing_key", "product")
    )
    return Search(event_id, routing_key, product, decision, times["from"], times["to"])


def _look(connection: Connection, wanted: Search) -> list[FoundDecision]:
    if wanted.event_id:
        return store.by_event(connection, wanted.event_id, wanted.product)
    if wanted.routing_key:
        return store.by_routing_key(
            connection, wanted.routing_key, wanted.product, wanted.first, wanted.last, decision=wanted.decision
        )
    return store.by_time(connection, wanted.product, wanted.decision, wanted.first, wanted.last)


def show(visit: Visit) -> Screen:
    return _screen(visit, {})


def prove(visit: Visit) -> Screen:
    """Recompute the score. It changes nothing, but costs the controller a model: it is a form, not a link."""
    with visit.console.resources.connect() as connection:
        stored = _find(connection, visit)
        if stored.score is None:
            raise HttpError(409, "no model scored this event: there is nothing to recompute")
        version = get_version(connection, stored.model_id)
    try:
        proof = recompute(stored, version, visit.console.resources.artifacts)
    except RegistryError as error:
        raise HttpError(409, f"the score cannot be recomputed: {error}") from None
    return _screen(visit, {"proof": proof})


def _screen(visit: Visit, more: Mapping[str, Any]) -> Screen:
    sees_payload = visit.may(Access.AUDITOR)
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        stored = _find(connection, visit)
        version = get_version(connection, stored.model_id)
        labels = store.labels(connection, stored.product, stored.event_id)
        paired = store.paired(connection, stored.product, stored.event_id, stored.prediction_id)
        same_key = _same_key(connection, stored)
    values = {
        "stored": stored,
        "version": version,
        "scale": score_scale(stored.score, stored.review_threshold, stored.block_threshold),
        "payload": msgspec.json.decode(stored.payload) if sees_payload else None,
        "labels": labels,
        "paired": paired,
        "same_key": same_key,
        "proof": None,
        "explained": reasons.explain(visit, stored) if sees_payload else None,
        **more,
    }
    return Screen("decisions/page.html.j2", f"Decision on {stored.event_id}", "decisions", values)


def _find(connection: Connection, visit: Visit) -> StoredPrediction:
    stored = find_prediction(connection, visit.path["prediction_id"])
    if stored is None:
        raise HttpError(404, "no such prediction; one answered less than a second ago may still be on its way")
    return stored


def _same_key(connection: Connection, stored: StoredPrediction) -> list[FoundDecision] | None:
    """Return the key's decisions in the hour up to this one; None if the log is too large to look through."""
    try:
        with connection.transaction():
            store.limit_time(connection)
            return store.by_routing_key(
                connection,
                stored.routing_key,
                stored.product,
                stored.created_at - KEY_SPAN,
                stored.created_at,
                limit=MAX_KEY_DECISIONS,
            )
    except psycopg.errors.QueryCanceled:
        return None


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


_ONE = f"{PATH}/{{prediction_id}}"
ROUTES = (
    PageRoute("GET", PATH, Access.VIEWER, search),
    PageRoute("GET", _ONE, Access.VIEWER, show),
    PageRoute("POST", f"{_ONE}/recompute", Access.AUDITOR, prove),
)
