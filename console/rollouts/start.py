"""Start a rollout: a form, the plan as it would run, and only then the start."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from canary.plan import DEFAULT_PLAN, Plan
from canary.rollout import operations
from canary.rollout import store as rollout_store
from canary.rollout.request import CanaryToStart
from console.pages import Elsewhere, PageRoute, Screen, Visit, path_to
from console.rollouts import store
from console.rollouts.actions import split_text
from edge.control.routes import Access
from runtime.reading import InputInvalid, Violation, read
from scoring.errors import BodyNotJson
from scoring.event import parse_json

MAX_STEPS = 6
_HOUR = 3600
PATH = path_to("rollouts", "start")


@dataclass(frozen=True, slots=True)
class StepFields:
    """One step as the form has it, in text."""

    percent: str = ""
    hours: str = ""
    gate: str = "auto"


@dataclass(frozen=True, slots=True)
class StepPreview:
    """One step of the plan, and the traffic that the canary would get at the present rate."""

    percent: float
    bake_seconds: int
    gate: str
    share: str


def show(visit: Visit) -> Screen:
    """Show the form; with its fields in the query, show the plan as it would run."""
    previews = "canary" in visit.query
    faults: list[Violation] = []
    request: CanaryToStart | None = None
    if previews:
        try:
            request = _request(visit.query)
        except InputInvalid as invalid:
            faults = invalid.violations
    return _screen(visit, visit.query, request, faults)


def start(visit: Visit) -> Screen | Elsewhere:
    try:
        request = _request(visit.form)
        if not request.reason:
            raise InputInvalid([Violation("/reason", "is missing: write why, for the audit log")])
        with visit.console.resources.connect() as connection:
            rollout, _ = operations.start_or_change(
                connection, request, actor=visit.actor, ignore_alerts=visit.console.resources.ignore_alerts
            )
    except InputInvalid as invalid:
        return _screen(visit, visit.form, None, invalid.violations)
    return Elsewhere(path_to("rollouts", rollout.rollout_id), "rollout_started")


def _screen(visit: Visit, fields: Mapping[str, str], request: CanaryToStart | None, faults: list[Violation]) -> Screen:
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        candidates = store.candidates(connection)
        traffic = store.requests_per_second(connection, request.product, visit.now) if request else None
    preview = []
    if request and traffic:
        assert isinstance(request.plan, Plan)
        preview = [
            StepPreview(step.percent, step.bake_seconds, step.gate, split_text(step.percent, traffic))
            for step in request.plan.steps
        ]
    values = {
        "candidates": candidates,
        "fields": fields,
        "steps": _steps(fields),
        "faults": faults,
        "request": request,
        "preview": preview,
        "ignores_alerts": visit.console.resources.ignore_alerts,
    }
    return Screen("rollouts/start.html.j2", "Start a rollout", "rollouts", values, status=422 if faults else 200)


def _request(fields: Mapping[str, str]) -> CanaryToStart:
    """Return the body that the API would get from these fields. Raises InputInvalid naming every fault."""
    product, _, model_id = fields.get("canary", "").partition("/")
    steps = [_step(step) for step in _steps(fields) if step.percent.strip()]
    body: dict[str, Any] = {
        "product": product,
        "canary_model_id": model_id,
        "canary_percent": steps[0].get("percent") if steps else None,
        "plan": {"steps": steps, "name": fields.get("plan_name") or "custom"},
        "mode": fields.get("mode") or "sequential",
    }
    if reason := fields.get("reason", "").strip():
        body["reason"] = reason
    if limits := fields.get("limits", "").strip():
        try:
            body["limits"] = parse_json(limits.encode())
        except BodyNotJson:
            raise InputInvalid([Violation("/limits", "is not JSON")]) from None
    return read(CanaryToStart, body)


def _step(step: StepFields) -> dict[str, Any]:
    return {"percent": _number(step.percent), "bake_seconds": _seconds(step.hours), "gate": step.gate or "auto"}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _seconds(hours: str) -> int | str:
    try:
        return round(float(hours or 0) * _HOUR)
    except (ValueError, OverflowError):
        return hours


def _steps(fields: Mapping[str, str]) -> list[StepFields]:
    """Return the steps of the form, and empty ones up to MAX_STEPS; the default plan before anything was sent."""
    found = list(_default_steps()) if "percent_0" not in fields else [_step_of(fields, i) for i in range(MAX_STEPS)]
    return found + [StepFields()] * (MAX_STEPS - len(found))


def _default_steps() -> Iterator[StepFields]:
    for step in DEFAULT_PLAN.steps:
        yield StepFields(f"{step.percent:g}", f"{step.bake_seconds / _HOUR:g}", step.gate)


def _step_of(fields: Mapping[str, str], place: int) -> StepFields:
    return StepFields(*(fields.get(f"{name}_{place}", "") for name in ("percent", "hours", "gate")))


ROUTES = (PageRoute("GET", PATH, Access.ML_OPS, show), PageRoute("POST", PATH, Access.ML_OPS, start))
