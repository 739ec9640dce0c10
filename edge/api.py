"""The control routes of a process; those in ROUTES answer on both ports."""

from edge import (
    backtest_routes,
    breaker_routes,
    canary_routes,
    control_group_routes,
    label_routes,
    model_routes,
    monitoring_routes,
    prediction_routes,
)
from edge.docs import docs_routes
from edge.health_routes import Reasons, health_routes
from edge.routes import Route

ROUTES = (
    *model_routes.ROUTES,
    *prediction_routes.ROUTES,
    *canary_routes.ROUTES,
    *breaker_routes.ROUTES,
    *control_group_routes.ROUTES,
    *backtest_routes.ROUTES,
    *label_routes.ROUTES,
    *monitoring_routes.ROUTES,
)


def control_routes(
    not_ready_because: Reasons, faults: Reasons, *, documented: tuple[Route, ...] = ()
) -> tuple[Route, ...]:
    """Return ROUTES with the routes for health and documentation; `documented` are answered elsewhere."""
    routes = (*health_routes(not_ready_because, faults), *ROUTES)
    return (*routes, *docs_routes((*documented, *routes)))
