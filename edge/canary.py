"""The canary over HTTP: start, see, stop, pause, resume, promote."""

from collections.abc import Callable

from canary.report.page import render
from canary.report.report import make_report
from canary.rollout import operations, store
from canary.rollout.change import Change
from canary.rollout.description import description, summary
from canary.rollout.request import CanaryToStart, WithReason
from canary.rollout.store import StoredRollout
from edge.problems import HttpError
from edge.routes import Access, Call, Reply, Route
from runtime.postgres import Connection
from runtime.reading import InputInvalid, Violation, read

Act = Callable[..., StoredRollout | None]


def start_or_change(call: Call) -> Reply:
    """Start a canary (201), or give the one that runs another percentage (200)."""
    request = read(CanaryToStart, call.body)
    with call.resources.connect() as connection:
        rollout, started = operations.start_or_change(
            connection, request, actor=call.actor, ignore_alerts=call.resources.ignore_alerts
        )
        return Reply(_described(connection, rollout), 201 if started else 200)


def show(call: Call) -> Reply:
    """Anyone: product, percentage and state. With a role: everything, with the latest verdict."""
    product = call.path["product"]
    with call.resources.connect() as connection:
        store.read_one_moment(connection)
        rollout = operations.find(connection, product)
        if rollout is None or not Access.VIEWER.admits(call.caller):
            return Reply(summary(product, rollout))
        return Reply(_described(connection, rollout))


def report(call: Call) -> Reply:
    """The case for or against promotion, as JSON or with `?format=html` as a page that opens offline."""
    product, wanted = call.path["product"], call.query.get("format", "json")
    faults = [
        Violation(name[:64], "is not a parameter of the report") for name in sorted(call.query.keys() - {"format"})
    ]
    if wanted not in ("json", "html"):
        faults.append(Violation("format", "must be json or html"))
    if faults:
        raise InputInvalid(faults)
    with call.resources.connect() as connection:
        store.read_one_moment(connection)
        rollout = operations.find(connection, product)
        if rollout is None:
            raise HttpError(404, f"{product} has had no canary yet")
        made = make_report(connection, rollout)
    return (
        Reply(text=render(made), media_type="text/html; charset=utf-8") if wanted == "html" else Reply(made.to_json())
    )


def _operate(act: Act) -> Callable[[Call], Reply]:
    def handle(call: Call) -> Reply:
        product, reason = call.path["product"], read(WithReason, call.body or {}).reason
        with call.resources.connect() as connection:
            rollout = act(connection, product, Change(call.actor, reason))
            return Reply(_described(connection, rollout) if rollout else summary(product, None))

    return handle


def _described(connection: Connection, rollout: StoredRollout) -> dict[str, object]:
    return description(rollout, store.latest_verdict(connection, rollout.rollout_id))


ROUTES = (
    Route("POST", "/v1/canary", Access.ML_OPS, start_or_change),
    Route("GET", "/v1/canary/{product}", Access.OPTIONAL, show),
    Route("GET", "/v1/canary/{product}/report", Access.VIEWER, report),
    Route("POST", "/v1/canary/{product}/stop", Access.ML_OPS, _operate(operations.stop)),
    Route("POST", "/v1/canary/{product}/pause", Access.ML_OPS, _operate(operations.pause)),
    Route("POST", "/v1/canary/{product}/resume", Access.ML_OPS, _operate(operations.resume)),
    Route("POST", "/v1/canary/{product}/promote", Access.ML_OPS, _operate(operations.next_step)),
)
