from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest

from canary import store
from canary.sources import Sources
from canary.tick import Judged, tick
from registry.audit import history
from registry.model_version import Status
from registry.store import change_status
from runtime.postgres import Connection, connect

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Canary

SHORT_PLAN = {"steps": [{"percent": 10, "bake_seconds": 60}, {"percent": 50, "bake_seconds": 60}]}
STALE_SECONDS = 7.5


@pytest.fixture
def sources() -> Iterator[Sources]:
    asked = Sources(alertmanager_url=None, prometheus_url=None)
    yield asked
    asked.close()


def only(connection: Connection, sources: Sources) -> Judged:
    outcomes = tick(connection, "tests", sources, stale_seconds=STALE_SECONDS)
    assert outcomes is not None
    assert len(outcomes) == 1
    return outcomes[0]


def healthy(canary: "Canary", phase: int = 0, first_seconds_ago: int = 600) -> None:
    """Evidence that every measurement passes."""
    canary.evidence("production", 900, errors=3, phase=phase, first_seconds_ago=first_seconds_ago)
    canary.evidence("canary", 100, phase=phase, first_seconds_ago=first_seconds_ago)
    canary.paired_evidence(20, 2, 2, 1976, phase=phase)


def action(connection: Connection, rollout_id: str) -> str:
    verdict = store.latest_verdict(connection, rollout_id)
    assert verdict is not None
    return verdict.action


def test_no_rollout_is_nothing_to_judge(connection: Connection, sources: Sources) -> None:
    assert [] == tick(connection, "tests", sources, stale_seconds=STALE_SECONDS)


def test_no_evidence_holds(canary: "Canary", connection: Connection, sources: Sources) -> None:
    canary.start(seconds_old=600)
    judged = only(connection, sources)
    assert judged.verdict
    assert "hold" == judged.verdict.kind == action(connection, judged.rollout.rollout_id)
    assert 10 == canary.now().canary_percent


def test_a_healthy_canary_moves_up_its_plan_and_becomes_production(
    canary: "Canary", connection: Connection, sources: Sources
) -> None:
    started = canary.start(plan=SHORT_PLAN, seconds_old=600)
    healthy(canary)
    judged = only(connection, sources)
    rollout = judged.rollout
    assert "advance" == judged.verdict.kind, judged.verdict.reasons
    assert (50, 1, 1) == (rollout.canary_percent, rollout.step, rollout.phase)

    connection.execute("UPDATE sira_canary_config SET step_started_at = step_started_at - interval '1 hour'")
    assert "continue" == only(connection, sources).verdict.kind, "a step earns its own evidence, however long it bakes"

    connection.execute("UPDATE sira_canary_config SET sealed_through = sealed_through - interval '5 min'")
    healthy(canary, phase=1, first_seconds_ago=300)
    ended = only(connection, sources).rollout
    assert (0, "promoted") == (ended.canary_percent, ended.status)
    assert Status.PRODUCTION is canary.status_of(canary.canary)
    assert Status.RETIRED is canary.status_of(canary.production)
    actions = [verdict.action for verdict in store.verdicts(connection, started.rollout_id)]
    assert ["advance", "continue", "promote"] == actions


def test_a_failing_canary_is_out_with_its_reason_measurements_and_audit_in_one_go(
    canary: "Canary", connection: Connection, sources: Sources
) -> None:
    started = canary.start(seconds_old=600)
    canary.evidence("production", 900, errors=3)
    canary.evidence("canary", 100, errors=10)
    rollout = only(connection, sources).rollout
    assert (0, "rolled_back") == (rollout.canary_percent, rollout.status)
    assert Status.ROLLED_BACK is canary.status_of(canary.canary)
    assert Status.PRODUCTION is canary.status_of(canary.production)
    logged = connection.execute(
        "SELECT product, canary_model_id::text, production_model_id::text, rollout_id::text, rolled_back_by, reason,"
        " jsonb_array_length(measurements) > 5 FROM sira_canary_rollback_log"
    ).fetchall()
    (row,) = logged
    assert ("fraud_score", canary.canary.model_id, canary.production.model_id, started.rollout_id, "controller") == row[
        :5
    ]
    assert row[5].startswith("error_ratio: errors: canary ")
    assert row[6]
    assert "canary.rolled_back" == history(connection, subject=started.rollout_id)[0].action
    assert "rollback" == action(connection, started.rollout_id)
    assert [] == tick(connection, "tests", sources, stale_seconds=STALE_SECONDS)
