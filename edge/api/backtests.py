"""Backtests over HTTP: ask for one, list them, read a report."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from backtest.jobs import store
from backtest.jobs.store import StoredBacktest
from backtest.page.page import render_backtest
from backtest.request import BacktestToRun
from edge.control.routes import Access, Call, Reply, Route, Text
from edge.problems import HttpError


class BacktestsQuery(msgspec.Struct, forbid_unknown_fields=True):
    product: Annotated[str, Meta(max_length=128)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class BacktestQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`format`: html is one page that opens offline."""

    format: Literal["json", "html"] = "json"


class BacktestPage(msgspec.Struct):
    """Newest first, without their reports."""

    backtests: list[StoredBacktest]


def start(call: Call) -> Reply:
    with call.resources.connect() as connection:
        return Reply(store.insert(connection, call.body, actor=call.actor), 202)


def list_backtests(call: Call) -> Reply:
    with call.resources.connect() as connection:
        return Reply(BacktestPage(store.newest(connection, product=call.query.product, limit=call.query.limit)))


def show(call: Call) -> Reply:
    with call.resources.connect() as connection:
        found = store.find(connection, call.path["backtest_id"])
    if call.query.format == "json":
        return Reply(found)
    if found.report is None:
        raise HttpError(409, f"this backtest is {found.status}: it has no report")
    return Reply(text=render_backtest(found.report), media_type="text/html")


ROUTES = (
    Route(
        "POST",
        "/v1/backtests",
        Access.ML_OPS,
        start,
        "Models",
        "Start a backtest of a version against the log",
        takes=BacktestToRun,
        gives={202: StoredBacktest},
        refuses=(404, 409, 422),
        notes="A process of the controller runs it; GET /v1/backtests/{backtest_id} shows how far it is.",
    ),
    Route(
        "GET",
        "/v1/backtests",
        Access.VIEWER,
        list_backtests,
        "Models",
        "List backtests, newest first",
        query=BacktestsQuery,
        gives={200: BacktestPage},
        refuses=(409,),
    ),
    Route(
        "GET",
        "/v1/backtests/{backtest_id}",
        Access.VIEWER,
        show,
        "Models",
        "Show a backtest with its report",
        query=BacktestQuery,
        gives={200: (StoredBacktest, Text("text/html"))},
        refuses=(404, 409),
    ),
)
