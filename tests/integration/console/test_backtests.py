"""Backtests in the console: asked for in a form, run by their process, read as a page."""

from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from backtest.jobs.worker import run_next
from runtime.auth import Role
from runtime.postgres import Connection
from runtime.settings import BacktestSettings, Settings
from tests.support import backtested
from tests.support.counting import counted

# Stated in docs/console.md.
MAX_STATEMENTS = {"/console/backtests": 5, "{page}": 3, "/console/backtests/start": 3}


def text(answered: Any) -> str:
    return " ".join(unescape(answered.body.decode()).split())


@pytest.fixture
def candidate(connection: Connection, settings: Callable[..., Settings]) -> str:
    """The id of a version to try on a log of 300 events."""
    return backtested.add_log(connection, settings().model_bucket, 300).candidate.model_id


def test_without_any_the_page_says_so(desk: Any) -> None:
    assert "No backtest has been asked for." in text(desk.get("/console/backtests", Role.viewer))


def test_a_database_without_the_migration_says_what_to_do(desk: Any, connection: Connection) -> None:
    connection.execute("DROP TABLE sira_backtests CASCADE")
    assert "apply the pending migrations" in text(desk.get("/console/backtests"))


def test_a_backtest_is_started_followed_and_read(desk: Any, candidate: str) -> None:
    sent = desk.post("/console/backtests/start", {"model_id": candidate, "days": "5", "segments": "country"})
    assert sent.status == 303
    page = sent.headers["location"].partition("?")[0]
    assert "It waits for a process of the controller." in text(desk.get(page))
    assert run_next(BacktestSettings.load(), 1)
    report = text(desk.get(page, Role.viewer))
    assert "300 events" in report
    assert "Recall by share blocked" in report
    assert "By country" in report
    assert "style=" not in report
    listed = text(desk.get("/console/backtests", Role.viewer))
    assert "gbm 2" in listed
    assert "done" in listed


def test_every_wrong_field_is_named_and_what_was_written_stays(desk: Any, candidate: str) -> None:
    refused = desk.post("/console/backtests/start", {"model_id": candidate, "days": "400", "cost": "{"})
    assert refused.status == 422
    page = text(refused)
    assert "days " in page
    assert "cost " in page
    assert 'value="400"' in page


def test_a_misspelt_segment_is_refused_before_anything_runs(desk: Any, candidate: str) -> None:
    sent = {"model_id": candidate, "days": "5", "segments": "country_x"}
    refused = desk.post("/console/backtests/start", sent)
    assert refused.status == 422
    assert "no event of cards has country_x; did you mean country" in text(refused)
    assert "No backtest has been asked for." in text(desk.get("/console/backtests"))


def test_a_viewer_reads_but_does_not_start(desk: Any, candidate: str) -> None:
    assert "Start a backtest" not in text(desk.get("/console/backtests", Role.viewer))
    assert desk.get("/console/backtests/start", Role.viewer).status == 403
    assert desk.post("/console/backtests/start", {"model_id": candidate, "days": "5"}, Role.viewer).status == 403


def test_an_unknown_backtest_is_not_found(desk: Any) -> None:
    assert desk.get("/console/backtests/none").status == 404


def test_the_pages_send_few_statements(desk: Any, candidate: str) -> None:
    page = desk.post("/console/backtests/start", {"model_id": candidate, "days": "5"}).headers["location"]
    for path, most in MAX_STATEMENTS.items():
        with counted(desk.resources) as statements:
            assert desk.get(path.format(page=page)).status == 200
        assert len(statements) <= most
