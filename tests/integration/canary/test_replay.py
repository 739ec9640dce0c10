from typing import TYPE_CHECKING

import psycopg
import pytest

from canary.controller import upkeep
from canary.controller.replay import ReplayResult, replay
from canary.rollout.verdicts import verdicts
from runtime.postgres import Connection

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Behaviour, Canary, Clock

PLAN = {"steps": [{"percent": 10, "bake_seconds": 60}, {"percent": 50, "bake_seconds": 86400}]}


@pytest.fixture
def judged(canary: "Canary", connection: Connection, clock: "Clock", behaviour: "type[Behaviour]") -> "Canary":
    """A canary that advanced one step, was judged with two dispersions, and was rolled back."""
    canary.start(plan=PLAN)
    usual = behaviour(errors=0.003)
    canary.run(1800, usual, usual)
    assert canary.now().phase == 1
    connection.execute(
        "INSERT INTO sira_production_errors SELECT 'fraud_score', date_bin('30 s', clock_timestamp(), 'epoch')"
        " - s * interval '30 s', half, 3000, 5 + 3 * ((s + half) % 2)"
        " FROM generate_series(1, 1000) AS s, generate_series(0, 1) AS half"
    )
    clock.wait(3600)
    canary.run(600, behaviour(errors=0.0033), usual)
    canary.run(300, behaviour(errors=0.1), usual)
    assert canary.now().status == "rolled_back"
    return canary


def test_every_stored_verdict_follows_from_the_stored_buckets_even_when_thinned(
    judged: "Canary", connection: Connection, clock: "Clock"
) -> None:
    before = replay(connection, judged.now())
    assert before == ReplayResult(before.verdicts, ())
    clock.wait(3600)
    removed = upkeep.thin_verdicts(connection)
    assert removed > before.verdicts / 2
    assert upkeep.thin_verdicts(connection) == 0
    assert replay(connection, judged.now()) == ReplayResult(before.verdicts - removed, ())


def test_a_bucket_edited_afterwards_is_detected(judged: "Canary", connection: Connection) -> None:
    connection.execute(
        "UPDATE sira_canary_evidence SET errors = errors + 20 WHERE arm = 'canary' AND bucket_start ="
        " (SELECT min(bucket_start) FROM sira_canary_evidence)"
    )
    assert "error_ratio" in replay(connection, judged.now()).differences[0].names


def test_a_verdict_edited_afterwards_is_detected(judged: "Canary", connection: Connection) -> None:
    connection.execute("UPDATE sira_canary_verdicts SET verdict = 'continue' WHERE verdict = 'rollback'")
    (difference,) = replay(connection, judged.now()).differences
    assert difference.names == ("verdict",)


def test_verdicts_and_their_evidence_are_deleted_together_long_after_the_rollout_ended(
    judged: "Canary", connection: Connection
) -> None:
    def kept() -> tuple[int, ...]:
        tables = ("sira_canary_verdicts", "sira_canary_evidence", "sira_canary_paired_evidence")
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        return connection.execute(f"SELECT {counts}").fetchone()  # type: ignore[call-overload,no-any-return]

    def ended(days: int) -> None:
        connection.execute("UPDATE sira_canary_config SET ended_at = now() - make_interval(days => %s)", (days,))

    before = kept()
    assert min(before) > 0
    ended(days=399)
    assert upkeep.drop_evidence(connection, retention_days=400) == 0
    assert kept() == before
    ended(days=402)
    assert upkeep.drop_evidence(connection, retention_days=400) == 1
    assert kept() == (0, 0, 0)
    assert replay(connection, judged.now()) == ReplayResult(0, ())
    rolled_back = connection.execute("SELECT count(*) FROM sira_canary_rollback_log").fetchone()
    assert rolled_back == (1,)


def test_the_evidence_of_a_live_rollout_is_never_dropped(canary: "Canary", connection: Connection) -> None:
    canary.start()
    canary.run(30)
    assert upkeep.drop_evidence(connection, retention_days=31) == 0
    with pytest.raises(psycopg.errors.RaiseException, match="last 30 days"):
        upkeep.drop_evidence(connection, retention_days=29)


def test_a_rollout_of_an_earlier_release_keeps_its_rules_and_its_verdicts_can_be_recomputed(
    canary: "Canary", connection: Connection, behaviour: "type[Behaviour]"
) -> None:
    canary.start(plan=PLAN)
    connection.execute("UPDATE sira_canary_config SET limits = limits - 'sample_ratio' - 'sample_alpha'")
    usual = behaviour(errors=0.003)
    canary.run(60, usual, usual)
    judged = canary.now()
    assert judged.limits.sample_ratio is None
    stored = verdicts(connection, judged.rollout_id)
    assert "sample_ratio" not in {measurement.name for one in stored for measurement in one.measurements}
    assert replay(connection, judged) == ReplayResult(len(stored), ())


def test_a_verdict_stored_before_there_were_confidence_sequences_can_be_recomputed_and_a_changed_bound_is_detected(
    judged: "Canary", connection: Connection
) -> None:
    stored = verdicts(connection, judged.now().rollout_id)
    bounds = [(m.low, m.high) for one in stored for m in one.measurements if m.name in ("error_ratio", "error_go")]
    assert any(low for low, _ in bounds)
    assert any(high for _, high in bounds)
    connection.execute(
        "UPDATE sira_canary_verdicts SET measurements = (SELECT jsonb_agg(CASE WHEN m ->> 'name' = 'error_ratio'"
        " AND m ->> 'low' IS NOT NULL THEN jsonb_set(m, '{low}', '7') ELSE m END)"
        " FROM jsonb_array_elements(measurements) m)"
    )
    changed = replay(connection, judged.now()).differences
    assert {difference.names for difference in changed} == {("error_ratio",)}
    connection.execute(
        "UPDATE sira_canary_verdicts SET measurements = (SELECT jsonb_agg(m - '{low,high,tested,samples}'::text[])"
        " FROM jsonb_array_elements(measurements) m)"
    )
    assert replay(connection, judged.now()) == ReplayResult(len(stored), ())


def test_a_sentence_that_was_reworded_since_is_no_difference_and_any_other_is(
    canary: "Canary", connection: Connection, clock: "Clock"
) -> None:
    canary.start(limits={"critical_alerts": "hold"})
    canary.run(60)
    now, before = "it is unknown whether a critical alert is firing", "nobody knows whether a critical alert fires"
    reworded = (
        "UPDATE sira_canary_verdicts SET reasons = replace(reasons::text, %(now)s, %(then)s)::jsonb,"
        " measurements = replace(measurements::text, %(now)s, %(then)s)::jsonb"
    )
    changed = connection.execute(reworded, {"now": now, "then": before}).rowcount
    stored = verdicts(connection, canary.now().rollout_id)
    assert changed == len(stored)
    assert any(before in reason for reason in stored[-1].reasons)
    assert replay(connection, canary.now()).differences == ()
    connection.execute(reworded, {"now": before, "then": "all is well"})
    assert set(replay(connection, canary.now()).differences[-1].names) == {"reasons", "critical_alerts"}
