"""One product: its inputs beside what is normal, and the guard on its decisions, as /v1/monitoring answers."""

from typing import Any

from canary.rollout.operations import ProductNotFound
from console.decisions.store import products
from console.health.charts import maturation_chart, reliability_diagram
from console.health.control_group import ask_control_group, set_control_group
from console.overview.alarms import RUNBOOK
from console.pages import Elsewhere, PageRoute, Screen, Visit, path_to
from edge.api import breakers, monitoring
from edge.api.breakers import BreakerToSet
from edge.control.routes import Access, Call
from monitoring.breaker import store as breaker_store
from monitoring.breaker.rule import Breaker
from monitoring.cohorts.performance import Performance
from monitoring.control_group.store import control_groups
from monitoring.field_alarms import AlarmKind
from runtime.reading import InputInvalid, read

PATH = path_to("health")
# How to read the figures of cohorts.
GUIDE = f"{RUNBOOK.removesuffix('operations.md')}monitoring.md#performance"
# What each alarm means, and the section of docs/operations.md that says what to do.
ALARMS: dict[AlarmKind, tuple[str, str]] = {
    "missing": ("missing far more often than usual", f"{RUNBOOK}#sirafieldmissing"),
    "unseen": ("values that the baseline does not have", f"{RUNBOOK}#sirafieldmissing"),
    "drift": ("another distribution than usual", f"{RUNBOOK}#sirafielddrift"),
}


def show(visit: Visit) -> Screen:
    with visit.console.resources.connect() as connection:
        known = products(connection)
        breakers = {breaker.product: breaker for breaker in breaker_store.breakers(connection)}
        groups = {group.product: group for group in control_groups(connection)}
    chosen = visit.path.get("product") or (known[0] if known else None)
    found: Any = None
    if chosen is not None:
        try:
            call = Call(visit.console.resources, visit.caller, {"product": chosen})
            found = monitoring.show(call).content
        except ProductNotFound:
            if chosen not in known:
                raise
    values = {
        "products": known,
        "chosen": chosen,
        "found": found,
        "alarms": ALARMS,
        "breaker": breakers.get(chosen or ""),
        "control": groups.get(chosen or ""),
        "runbook": f"{RUNBOOK}#sirabreakertripped",
        **_cohort_values(None if found is None else found.performance),
    }
    return Screen("health/page.html.j2", "Production health", "health", values)


def _cohort_values(performance: Performance | None) -> dict[str, Any]:
    return {
        "performance": performance,
        "reliability_chart": reliability_diagram(performance.reliability if performance else ()),
        "maturation_chart": maturation_chart(performance.maturation if performance else ()),
        "guide": GUIDE,
    }


def ask_breaker(visit: Visit) -> Screen:
    """Show what the breaker does, and ask how to set it."""
    return _breaker_form(visit, {})


def set_breaker(visit: Visit) -> Screen | Elsewhere:
    reason = visit.form.get("reason", "").strip()
    percent = visit.form.get("max_block_percent", "").strip()
    body: dict[str, Any] = {"enabled": visit.form.get("enabled") == "on", "reason": reason}
    faults = [] if reason else ["write why: it is kept in the audit log"]
    try:
        if percent:
            body["max_block_share"] = float(percent) / 100
        wanted = read(BreakerToSet, body)
    except (InputInvalid, ValueError):
        faults.append("the share must be a number from 0 to 100, and the reason at most a few sentences")
    if faults:
        return _breaker_form(visit, {"faults": faults}, status=422)
    breakers.set_one(Call(visit.console.resources, visit.caller, visit.path, body=wanted))
    return Elsewhere(path_to("health", visit.path["product"]), "breaker_set")


def _breaker_form(visit: Visit, more: dict[str, Any], status: int = 200) -> Screen:
    product = visit.path["product"]
    with visit.console.resources.connect() as connection:
        if product not in products(connection):
            raise ProductNotFound(product)
        found = next((one for one in breaker_store.breakers(connection) if one.product == product), Breaker(product))
    values = {"breaker": found, "faults": [], "fields": visit.form, **more}
    return Screen("health/breaker.html.j2", f"Breaker of {product}", "health", values, status=status)


_BREAKER = f"{PATH}/{{product}}/breaker"
_CONTROL_GROUP = f"{PATH}/{{product}}/control-group"
ROUTES = (
    PageRoute("GET", _CONTROL_GROUP, Access.ML_OPS, ask_control_group),
    PageRoute("POST", _CONTROL_GROUP, Access.ML_OPS, set_control_group),
    PageRoute("GET", _BREAKER, Access.ML_OPS, ask_breaker),
    PageRoute("POST", _BREAKER, Access.ML_OPS, set_breaker),
    PageRoute("GET", PATH, Access.VIEWER, show),
    PageRoute("GET", f"{PATH}/{{product}}", Access.VIEWER, show),
)
