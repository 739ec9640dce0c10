"""The form that sets a product's control group, as POST /v1/control-group does."""

from typing import Any

from canary.rollout.operations import ProductNotFound
from console.decisions.store import products
from console.pages import Elsewhere, Screen, Visit, path_to
from edge import api
from edge.api.control_groups import ControlGroupToSet
from edge.control.routes import Call
from monitoring.control_group.rule import ControlGroup
from monitoring.control_group.store import control_groups
from runtime.reading import InputInvalid, read


def ask_control_group(visit: Visit) -> Screen:
    """Show what the control group does, and ask how to set it."""
    return _form(visit, [])


def set_control_group(visit: Visit) -> Screen | Elsewhere:
    sent = {name: value.strip() for name, value in visit.form.items()}
    body: dict[str, Any] = {"enabled": sent.get("enabled") == "on", "reason": sent.get("reason", "")}
    body |= {name: sent[name] for name in ("answer", "amount_field") if sent.get(name)}
    faults = [] if body["reason"] else ["write why: it is kept in the audit log"]
    try:
        if sent.get("share_percent"):
            body["share"] = float(sent["share_percent"]) / 100
        if sent.get("max_per_day"):
            body["max_per_day"] = int(sent["max_per_day"])
        if sent.get("max_amount"):
            body["max_amount"] = float(sent["max_amount"])
        wanted = read(ControlGroupToSet, body)
        if not faults:
            api.control_groups.set_one(Call(visit.console.resources, visit.caller, visit.path, body=wanted))
            return Elsewhere(path_to("health", visit.path["product"]), "control_group_set")
    except InputInvalid as invalid:
        faults += [f"{one.pointer[1:].replace('_', ' ')}: {one.detail}" for one in invalid.violations]
    except ValueError:
        faults.append("the share, the limit per day and the largest amount must be numbers")
    return _form(visit, faults, status=422)


def _form(visit: Visit, faults: list[str], status: int = 200) -> Screen:
    product = visit.path["product"]
    with visit.console.resources.connect() as connection:
        if product not in products(connection):
            raise ProductNotFound(product)
        group: ControlGroup = next(
            (one for one in control_groups(connection) if one.product == product), ControlGroup(product)
        )
    values = {"group": group, "faults": faults, "fields": visit.form}
    return Screen("health/control_group.html.j2", f"Control group of {product}", "health", values, status=status)
