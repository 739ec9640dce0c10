"""The list of versions, one version, two compared, and a change of status."""

from urllib.parse import urlencode

from canary.rollout import store as rollout_store
from canary.rollout.request import WithReason
from console.models import view
from console.pages import Elsewhere, PageRoute, Screen, Visit, path_to
from edge.control.routes import Access
from edge.problems import HttpError
from registry import audit, store
from registry.importance import importance_of
from registry.model_version import ModelVersion, Status
from registry.store import StatusChangeRefused
from runtime.postgres import Connection
from runtime.reading import InputInvalid, read

MAX_HISTORY = 20
PATH = path_to("models")


def show_list(visit: Visit) -> Screen:
    product, status = visit.query.get("product") or None, visit.query.get("status") or None
    if status is not None and status not in set(Status):
        raise HttpError(422, f"status must be one of {', '.join(Status)}")
    cursor = visit.query.get("cursor") or None
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        page = store.list_versions(
            connection, product=product, status=Status(status) if status else None, cursor=cursor
        )
    older = {name: value for name, value in (("product", product), ("status", status)) if value}
    values = {
        "page": page,
        "statuses": list(Status),
        "fields": visit.query,
        "older": f"{PATH}?{urlencode({**older, 'cursor': page.next_cursor})}" if page.next_cursor else None,
        "reference_text": view.reference_text,
    }
    return Screen("models/list.html.j2", "Models", "models", values)


def show(visit: Visit) -> Screen:
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        version = store.get_version(connection, visit.path["model_id"])
        values = {
            "version": version,
            "importance": importance_of(connection, version.model_id),
            "history": audit.history(connection, subject=version.model_id, limit=MAX_HISTORY),
            "others": store.list_versions(connection, product=version.product).versions,
        }
    values |= {
        "targets": view.targets(version) if visit.may(Access.ML_OPS) else (),
        "labels": view.LABELS,
        "field_text": view.field_text,
        "reference_text": view.reference_text,
    }
    return Screen("models/page.html.j2", f"{version.name} {version.version}", "models", values)


def compare(visit: Visit) -> Screen:
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        first, second = (store.get_version(connection, visit.query.get(name, "")) for name in ("a", "b"))
    values = {
        "first": first,
        "second": second,
        "lines": view.compare(first, second),
        "fields": view.compare_fields(first, second),
    }
    return Screen("models/compare.html.j2", "Two versions", "models", values)


def confirm(visit: Visit) -> Screen:
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        version = store.get_version(connection, visit.path["model_id"])
        return _confirmation(visit, connection, version)


def change(visit: Visit) -> Screen | Elsewhere:
    """Change a status, if the version still has the one that the person saw."""
    with visit.console.resources.connect() as connection:
        version = store.get_version(connection, visit.path["model_id"])
        target = _target(visit, version)
        reason = visit.form.get("reason", "").strip()
        try:
            body = read(WithReason, {"reason": reason})
        except InputInvalid as invalid:
            return _confirmation(visit, connection, version, f"the reason {invalid.violations[0].detail}")
        if not reason:
            return _confirmation(visit, connection, version, "write why: it is kept in the audit log")
        audit.lock_writes(connection)
        if store.get_version(connection, version.model_id).status != visit.form.get("seen"):
            raise HttpError(409, "the version has changed since you looked: look again, then decide")
        store.change_status(connection, version.model_id, target, actor=visit.actor, reason=body.reason)
    return Elsewhere(path_to("models", version.model_id), "version_changed")


def _target(visit: Visit, version: ModelVersion) -> Status:
    wanted = visit.path["target"]
    target = next((one for one in view.TARGETS if one == wanted), None)
    if target is None:
        raise HttpError(404, "no such status to choose")
    if target not in view.targets(version):
        raise StatusChangeRefused(version, target, "look at the version for what it may become")
    return target


def _confirmation(visit: Visit, connection: Connection, version: ModelVersion, fault: str | None = None) -> Screen:
    target = _target(visit, version)
    current = store.production_of(connection, version.product)
    values = {
        "version": version,
        "target": target,
        "label": view.LABELS[target],
        "consequences": view.consequences(version, target, current),
        "fault": fault,
        "reason": visit.form.get("reason", ""),
    }
    return Screen("models/confirm.html.j2", view.LABELS[target], "models", values, status=422 if fault else 200)


_ONE = f"{PATH}/{{model_id}}"
_CHANGE = f"{_ONE}/{{target}}"
ROUTES = (
    PageRoute("GET", PATH, Access.VIEWER, show_list),
    PageRoute("GET", path_to("models", "compare"), Access.VIEWER, compare),
    PageRoute("GET", _ONE, Access.VIEWER, show),
    PageRoute("GET", _CHANGE, Access.ML_OPS, confirm),
    PageRoute("POST", _CHANGE, Access.ML_OPS, change),
)
