"""All pages of the console."""

from console.audit import page as audit
from console.backtests import page as backtests
from console.decisions import page as decisions
from console.health import page as health
from console.models import page as models
from console.overview import page as overview
from console.rollouts import page as rollouts
from console.sign_in import page as sign_in

ROUTES = (
    *sign_in.ROUTES,
    *overview.ROUTES,
    *rollouts.ROUTES,
    *decisions.ROUTES,
    *models.ROUTES,
    *backtests.ROUTES,
    *health.ROUTES,
    *audit.ROUTES,
)
