"""The canary over HTTP: start, show, stop, pause, resume, promote."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import msgspec

from canary.report.page import render
from canary.report.report import Report, flipped_payloads, make_report
from canary.rollout import operations, store
from canary.rollout.change import Change
from canary.rollout.description import CanaryDescription, CanarySummary, description, summary
from canary.rollout.request import CanaryToStart, WithReason
from canary.rollout.store import StoredRollout
from canary.rollout.verdicts import latest_verdict
from edge.api.flip_reasons import explain_flips
from edge.control.routes import Access, Call, Reply, Route, Text
from edge.problems import HttpError
from runtime.postgres import Connection

Act = Callable[..., StoredRollout | None]


class ReportQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`format`: html is one page that opens offline."""

    format: Literal["json", "html"] = "json"


def start_or_change(call: Call) -> Reply:
    request: CanaryToStart = call.body
    with call.resources.connect() as connection:
        rollout, started = operations.start_or_change(
            connection, request, actor=call.actor, ignore_alerts=call.resources.ignore_alerts
        )
        return Reply(_described(connection, rollout), 201 if started else 200)


def show(call: Call) -> Reply:
    product = call.path["product"]
    with call.resources.connect() as connection:
        store.read_one_moment(connection)
        rollout = operations.find(connection, product)
        if rollout is None or not Access.VIEWER.admits(call.caller):
            return Reply(summary(product, rollout))
        return Reply(_described(connection, rollout))


def report(call: Call) -> Reply:
    product, wanted = call.path["product"], call.query
    with call.resources.connect() as connection:
        store.read_one_moment(connection)
        rollout = operations.find(connection, product)
        if rollout is None:
            raise HttpError(404, f"{product} has had no canary yet")
        made = make_report(connection, rollout)
        flips = flipped_payloads(connection, rollout)
    made = replace(made, flip_reasons=explain_flips(call.resources, rollout, flips))
    return Reply(text=render(made), media_type="text/html; charset=utf-8") if wanted.format == "html" else Reply(made)


def _operate(act: Act) -> Callable[[Call], Reply]:
    def handle(call: Call) -> Reply:
        product, reason = call.path["product"], call.body.reason
        with call.resources.connect() as connection:
            rollout = act(connection, product, Change(call.actor, reason))
            return Reply(_described(connection, rollout) if rollout else summary(product, None))

    return handle


def _described(connection: Connection, rollout: StoredRollout) -> CanaryDescription:
    return description(rollout, latest_verdict(connection, rollout.rollout_id))


def _operation(name: str, act: Act, text: str, gives: object = CanaryDescription) -> Route:
    return Route(
        "POST", f"/v1/canary/{{product}}/{name}", Access.ML_OPS, _operate(act), "Canary", text,
        takes=WithReason, body_required=False, gives={200: gives}, refuses=(404, 409),
    )  # fmt: skip


ROUTES = (
    Route(
        "POST",
        "/v1/canary",
        Access.ML_OPS,
        start_or_change,
        "Canary",
        "Start a canary, or change its percentage",
        takes=CanaryToStart,
        gives={200: CanaryDescription, 201: CanaryDescription},
        refuses=(404, 409),
        notes="201 when it started, 200 when one was running.",
    ),
    Route(
        "GET",
        "/v1/canary/{product}",
        Access.OPTIONAL,
        show,
        "Canary",
        "Show a product's canary",
        gives={200: (CanarySummary, CanaryDescription)},
        refuses=(404,),
        notes="Without a role: product, percentage and state only. With one: everything, with the latest verdict.",
    ),
    Route(
        "GET",
        "/v1/canary/{product}/report",
        Access.VIEWER,
        report,
        "Canary",
        "The case for or against promotion",
        query=ReportQuery,
        gives={200: (Report, Text("text/html"))},
        refuses=(404,),
    ),
    _operation(
        "stop",
        operations.stop,
        "Send all traffic to production; safe to repeat",
        gives=(CanaryDescription, CanarySummary),
    ),
    _operation("pause", operations.pause, "Keep the percentage; the judge may still roll back"),
    _operation("resume", operations.resume, "Let the plan continue"),
    _operation("promote", operations.next_step, "Go to the next step now; from the last one to production"),
)
