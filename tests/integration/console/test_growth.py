"""The rows that a page reads, over a log that has many more: the work does not grow with the rows."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from canary.labels.store import count_labels
from lab.benchmarks.scale.console import pages
from lab.benchmarks.scale.generated_log import begin
from lab.benchmarks.scale.seed import first_version
from lab.waiting import wait_until
from runtime.postgres import Connection, connect
from tests.support.table_model import table_model

DAYS, ROWS_PER_DAY = 3, 12_000
# Stated in docs/console.md. A search without a product reads until it has found enough blocks.
MAX_ROWS_READ = 200
MAX_ROWS_READ_OF = {
    # 2,400 of them are the last hour of the rollout's production errors, which the log has only after midnight.
    "overview": 5_000,
    # The planner may read the pairs of days as small as here themselves: 1,800, and twice as many without 013.
    "one rollout, a week old": 2_000,
    "search by time, blocks in all days": 5_000,
}


@pytest.fixture
def paths(database_url: str, tmp_path: Path) -> dict[str, Any]:
    """The paths of every page, two of each, over a log with a week of verdicts."""
    (tmp_path / "model.onnx").write_bytes(table_model([0.1] * 1_000))
    with connect(database_url, name="tests", autocommit=True, statement_timeout_ms=120_000) as connection:
        first = first_version(connection, tmp_path, tmp_path / "model.onnx", "bench")
        log = begin(connection, first, [{"amount": float(n)} for n in range(1_000)], rows_per_day=ROWS_PER_DAY)
        for days in log.days(DAYS):
            if days == 1:
                log.judge()
        log.add_last_hour()
        connection.execute("VACUUM ANALYZE")
        count_labels(connection, maturity=timedelta(days=1))
        found = dict(pages(connection, log, 3, DAYS))
    # The session has ended, and with it what it reports late of its own reads.
    return found


def rows_read(connection: Connection) -> int:
    """Return how many rows of tables all sessions have read that have ended."""
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sira-control'"
    wait_until(lambda: connection.execute(sessions).fetchone() == (0,), 10, "the page's connections are closed")
    query = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables"
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def show(desk: Any, path: str) -> None:
    answered = desk.get(path)
    if answered.status == 303:
        answered = desk.get(answered.headers["location"])
    assert answered.status == 200


def test_each_page_reads_a_bounded_number_of_rows(desk: Any, paths: dict[str, Any], connection: Connection) -> None:
    read = {}
    for page, ways in paths.items():
        for path in ways:
            show(desk, path)
            before = rows_read(connection)
            show(desk, path)
            read[page] = max(read.get(page, 0), rows_read(connection) - before)
    assert {page: rows for page, rows in read.items() if rows > MAX_ROWS_READ_OF.get(page, MAX_ROWS_READ)} == {}


def test_a_decision_whose_impacts_do_not_add_up_is_shown_and_says_so(desk: Any, paths: dict[str, Any]) -> None:
    assert b"the impacts do not add up to the logged score" in desk.get(paths["one decision"][0]).body
