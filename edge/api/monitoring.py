"""GET /v1/monitoring/{product}: what its events look like beside what is normal, and how its decisions fared."""

from datetime import UTC, datetime
from typing import Literal

import msgspec

from canary.rollout.operations import ProductNotFound
from edge.control.routes import Access, Call, Reply, Route
from monitoring import profile_store
from monitoring.cohorts.performance import Performance
from monitoring.cohorts.reading import read_performance
from monitoring.field_alarms import FieldState
from monitoring.profiler import field_states
from monitoring.store import guard_exists, guard_of
from registry.model_version import Status
from registry.store import list_versions


class DecisionGuard(msgspec.Struct):
    """The guard on the shares of blocks and reviews. `ready`: it has a history to compare with."""

    ready: bool
    block_share_jumped: bool
    review_share_jumped: bool


class InputBaseline(msgspec.Struct):
    """Where the normal values come from: the version's reference rows, or its first full day in the log."""

    source: Literal["reference", "log"]
    made_at: datetime


class ProductMonitoring(msgspec.Struct):
    """The serving version's inputs and decisions. `fields` has the present hour; empty without a baseline.

    `performance` has the last 26 weeks of all versions; null until migration 009 has run.
    """

    product: str
    model_id: str
    model_version: str
    baseline: InputBaseline | None
    fields: list[FieldState]
    guard: DecisionGuard | None
    performance: Performance | None


def show(call: Call) -> Reply:
    product = call.path["product"]
    with call.resources.connect() as connection:
        found = list_versions(connection, product=product, status=Status.PRODUCTION, limit=1).versions
        if not found:
            raise ProductNotFound(product)
        version = found[0]
        baseline, fields = None, []
        if profile_store.profiles_exist(connection):
            baseline = profile_store.baseline(connection, version.model_id)
        if baseline is not None:
            fields = list(field_states(connection, version, baseline, datetime.now(UTC)))
        guard = guard_of(connection, product) if guard_exists(connection) else None
        performance = read_performance(connection, version, maturity_days=call.resources.label_maturity_days)
    return Reply(
        ProductMonitoring(
            product,
            version.model_id,
            version.version,
            None if baseline is None else InputBaseline(baseline.source, baseline.made_at),
            fields,
            None if guard is None else DecisionGuard(*guard),
            performance,
        )
    )


ROUTES = (
    Route(
        "GET",
        "/v1/monitoring/{product}",
        Access.VIEWER,
        show,
        "Monitoring",
        "Show a product's inputs beside what is normal, and how its decisions fared",
        gives={200: ProductMonitoring},
        refuses=(404,),
        notes="performance has cohorts by ISO week and version: precision and recall among labelled events, and what "
        "they will probably be, estimated from scores before labels arrive. The estimate holds only while the same "
        "score means the same share of fraud; no rule of a rollout uses it.",
    ),
)
