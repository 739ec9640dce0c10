"""The list of backtests, one backtest with its report, and the form that starts one."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from backtest.errors import BacktestError
from backtest.jobs import store
from backtest.page.page import render_figures
from backtest.request import DEFAULT_DAYS, MAX_DAYS, BacktestToRun
from console.pages import Elsewhere, PageRoute, Screen, Visit, path_to
from edge.api import backtests
from edge.control.routes import Access, Call
from registry.store import MAX_PAGE, list_versions
from runtime.reading import InputInvalid, read
from scoring.errors import BodyNotJson
from scoring.event import parse_json

PATH = path_to("backtests")
MAX_LISTED = 50


def list_page(visit: Visit) -> Screen:
    product = visit.query.get("product", "").strip() or None
    with visit.console.resources.connect() as connection:
        ready = store.is_migrated(connection)
        found = store.newest(connection, product=product, limit=MAX_LISTED) if ready else []
        labels = {version.model_id: version for version in list_versions(connection, limit=MAX_PAGE).versions}
    values = {"ready": ready, "backtests": found, "labels": labels, "product": product or ""}
    return Screen("backtests/list.html.j2", "Backtests", "backtests", values)


def show(visit: Visit) -> Screen:
    with visit.console.resources.connect() as connection:
        found = store.find(connection, visit.path["backtest_id"])
    figures = None if found.report is None else Markup(render_figures(found.report))
    values = {"backtest": found, "figures": figures}
    return Screen("backtests/page.html.j2", "Backtest", "backtests", values)


def ask(visit: Visit) -> Screen:
    """Show the form."""
    return _form(visit, visit.query, [])


def start(visit: Visit) -> Screen | Elsewhere:
    try:
        request = _request(visit.form)
        reply = backtests.start(Call(visit.console.resources, visit.caller, body=request))
    except InputInvalid as invalid:
        return _form(visit, visit.form, [f"{v.pointer.removeprefix('/')} {v.detail}" for v in invalid.violations])
    except BacktestError as refused:
        return _form(visit, visit.form, [str(refused)])
    return Elsewhere(path_to("backtests", reply.content.backtest_id), "backtest_started")


def _request(fields: Mapping[str, str]) -> BacktestToRun:
    """Return the body that the API would get from these fields. Raises InputInvalid naming every fault."""
    body: dict[str, Any] = {"model_id": fields.get("model_id", ""), "days": _number(fields.get("days", ""))}
    if amount := fields.get("amount_field", "").strip():
        body["amount_field"] = amount
    if segments := [name.strip() for name in fields.get("segments", "").split(",") if name.strip()]:
        body["segments"] = segments
    if cost := fields.get("cost", "").strip():
        try:
            body["cost"] = parse_json(cost.encode())
        except BodyNotJson:
            body["cost"] = "not JSON"  # refused below, with every other fault
    return read(BacktestToRun, body)


def _number(text: str) -> int | str:
    return int(text) if text.strip().isdecimal() else text


def _form(visit: Visit, fields: Mapping[str, str], faults: list[str]) -> Screen:
    with visit.console.resources.connect() as connection:
        versions = list_versions(connection, limit=MAX_PAGE).versions
    values = {"versions": versions, "fields": fields, "faults": faults, "days": DEFAULT_DAYS, "max_days": MAX_DAYS}
    return Screen("backtests/start.html.j2", "Start a backtest", "backtests", values, status=422 if faults else 200)


ROUTES = (
    PageRoute("GET", f"{PATH}/start", Access.ML_OPS, ask),
    PageRoute("POST", f"{PATH}/start", Access.ML_OPS, start),
    PageRoute("GET", PATH, Access.VIEWER, list_page),
    PageRoute("GET", f"{PATH}/{{backtest_id}}", Access.VIEWER, show),
)
