"""A rollout starts with production's history as its first evidence."""

from typing import TYPE_CHECKING

from canary.controller.replay import ReplayResult, replay
from canary.judge.evidence import latency_bin
from canary.judge.state import JudgeState, decode_state
from canary.report.report import Report, make_report
from canary.rollout import store
from runtime.postgres import Connection

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Canary


def add_production(connection: Connection, minutes_ago: range, errors: int = 3) -> None:
    """Count two halves of 300 requests of 10 ms in each half minute, as the shipper does."""
    for ago in minutes_ago:
        connection.execute(
            "INSERT INTO sira_production_errors (product, bucket_start, half, requests, errors, latency) SELECT"
            " 'fraud_score', date_bin('30 s', clock_timestamp(), 'epoch') - make_interval(mins => %s, secs => s),"
            " half, 300, %s, jsonb_build_object(%s::text, 300)"
            " FROM generate_series(0, 30, 30) AS s, generate_series(0, 1) AS half",
            (ago, errors, latency_bin(0.01)),
        )


def production_since(connection: Connection, minutes: float) -> None:
    connection.execute("ALTER TABLE siramodel_registry DISABLE TRIGGER siramodel_registry_guard")
    since = "UPDATE siramodel_registry SET updated_at = clock_timestamp() - make_interval(secs => %s)"
    connection.execute(since, (60 * minutes,))


def test_a_canary_that_starts_is_compared_with_productions_last_ten_minutes(
    canary: "Canary", connection: Connection
) -> None:
    production_since(connection, minutes=60)
    add_production(connection, range(20))
    rollout = canary.start()
    canary.run(15)
    state = remembered(canary)
    # 19 to 21 half minutes, and two buckets of the rollout.
    assert 19 * 600 <= state.production_requests - 2 * 900 <= 21 * 600
    assert state.phase.number == 0
    # A p95 to compare with existed from the first bucket.
    assert state.phase.timed.tolist() == [1800.0, 200.0]
    assert replay(connection, canary.now()) == ReplayResult(3, ())
    report = make_report_of(connection, rollout.rollout_id)
    assert sum(total.requests for total in report.totals) == 3 * 1000


def remembered(canary: "Canary") -> JudgeState:
    return decode_state(canary.now().judge_state or "")


def make_report_of(connection: Connection, rollout_id: str) -> Report:
    with connection.transaction():
        (rollout,) = [one for one in store.all_rollouts(connection) if one.rollout_id == rollout_id]
        return make_report(connection, rollout)


def test_answers_of_another_production_version_are_not_compared(canary: "Canary", connection: Connection) -> None:
    production_since(connection, minutes=4)
    add_production(connection, range(20))
    canary.start()
    canary.run(15)
    state = remembered(canary)
    assert 7 * 600 <= state.production_requests - 2 * 900 <= 9 * 600
