"""Read a product's cohorts and compute their figures."""

from datetime import UTC, datetime, timedelta

from monitoring.cohorts import store
from monitoring.cohorts.counter import COUNTED
from monitoring.cohorts.performance import Performance, performance
from registry.model_version import ModelVersion
from runtime.postgres import Connection


def read_performance(connection: Connection, version: ModelVersion, *, maturity_days: float) -> Performance | None:
    """Return the figures of the last weeks of a production version's product; None before migration 009.

    Three statements, whatever the traffic: they read sums.
    """
    if not store.cohorts_exist(connection):
        return None
    now = datetime.now(UTC)
    first = (now - COUNTED).astimezone(UTC).date()
    found = store.cohorts(connection, version.product, first - timedelta(days=first.weekday()))
    return performance(found, version.model_id, now, maturity_days)
