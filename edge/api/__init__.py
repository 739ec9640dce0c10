"""The control routes of a process; those in ROUTES answer on both ports."""

from edge.api import backtests, breakers, canaries, control_groups, labels, models, monitoring, predictions
from edge.api.health import Reasons, health_routes
from edge.control.docs import docs_routes
from edge.control.routes import Route

ROUTES = (
    *models.ROUTES,
    *predictions.ROUTES,
    *canaries.ROUTES,
    *breakers.ROUTES,
    *control_groups.ROUTES,
    *backtests.ROUTES,
    *labels.ROUTES,
    *monitoring.ROUTES,
)


def control_routes(
    not_ready_because: Reasons, faults: Reasons, *, documented: tuple[Route, ...] = ()
) -> tuple[Route, ...]:
    """Return ROUTES with the routes for health and documentation; `documented` are answered elsewhere."""
    routes = (*health_routes(not_ready_because, faults), *ROUTES)
    return (*routes, *docs_routes((*documented, *routes)))
