"""One product: its inputs beside what is normal, and the guard on its decisions, as /v1/monitoring answers."""

from typing import Any

from canary.rollout.operations import ProductNotFound
from console.decisions.store import products
from console.overview.alarms import RUNBOOK
from console.pages import PageRoute, Screen, Visit, path_to
from edge import monitoring_routes
from edge.routes import Access, Call
from monitoring.field_alarms import AlarmKind

PATH = path_to("health")
# What each alarm means, and the section of docs/operations.md that says what to do.
ALARMS: dict[AlarmKind, tuple[str, str]] = {
    "missing": ("missing far more often than usual", f"{RUNBOOK}#sirafieldmissing"),
    "unseen": ("values that the baseline does not have", f"{RUNBOOK}#sirafieldmissing"),
    "drift": ("another distribution than usual", f"{RUNBOOK}#sirafielddrift"),
}


def show(visit: Visit) -> Screen:
    with visit.console.resources.connect() as connection:
        known = products(connection)
    chosen = visit.path.get("product") or (known[0] if known else None)
    found: Any = None
    if chosen is not None:
        try:
            call = Call(visit.console.resources, visit.caller, {"product": chosen})
            found = monitoring_routes.show(call).content
        except ProductNotFound:
            if chosen not in known:
                raise
    values = {"products": known, "chosen": chosen, "found": found, "alarms": ALARMS}
    return Screen("health/page.html.j2", "Production health", "health", values)


ROUTES = (
    PageRoute("GET", PATH, Access.VIEWER, show),
    PageRoute("GET", f"{PATH}/{{product}}", Access.VIEWER, show),
)
