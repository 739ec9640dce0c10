import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from canary.controller import store as evidence_store
from canary.controller import upkeep
from canary.controller.sources import Sources
from canary.controller.tick import tick
from canary.labels.parsing import Label
from canary.labels.store import count_labels, insert_labels
from canary.rollout import operations
from canary.rollout.change import Change
from canary.rollout.request import CanaryToStart
from canary.rollout.verdicts import latest_verdict, verdicts
from registry.audit import history
from registry.model_version import ModelVersion, Status
from registry.store import change_status
from runtime.postgres import Connection, connect
from runtime.reading import read
from scoring.log.store import QUERIES as SHIPPER_QUERIES
from scoring.log.store import prepare_shipping

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Behaviour, Canary, Clock

PLAN = {"steps": [{"percent": 10, "bake_seconds": 60}, {"percent": 50, "bake_seconds": 60}]}


def test_without_rollouts_there_is_nothing_to_judge(connection: Connection, clock: "Clock", sources: Sources) -> None:
    assert tick(connection, "tests", sources, stale_seconds=7.5) == []


def test_a_rollout_without_evidence_holds(canary: "Canary", clock: "Clock") -> None:
    canary.start()
    clock.wait(600)
    judged = canary.tick()
    assert judged
    assert judged.verdict
    assert judged.verdict.kind == canary.verdict().action == "hold"
    assert canary.now().canary_percent == 10


def test_a_healthy_canary_advances_through_its_plan_and_becomes_production(
    canary: "Canary", connection: Connection, behaviour: "type[Behaviour]"
) -> None:
    rollout_id = canary.start(plan=PLAN).rollout_id
    usual = behaviour(errors=0.003)
    assert 60 <= canary.run(1800, usual, usual) < 1800
    assert (canary.now().canary_percent, canary.now().step, canary.now().phase) == (50, 1, 1)
    assert 60 <= canary.run(1800, usual, usual) < 1800
    assert (canary.now().canary_percent, canary.now().status) == (0, "promoted")
    assert canary.status_of(canary.canary) is Status.PRODUCTION
    assert canary.status_of(canary.production) is Status.RETIRED
    moves = [verdict.action for verdict in verdicts(connection, rollout_id) if verdict.verdict == "advance"]
    assert moves == ["advance", "promote"]


def test_a_step_needs_evidence_of_its_own_however_short_its_bake_time(canary: "Canary", clock: "Clock") -> None:
    canary.start(plan={"steps": [{"percent": 10, "bake_seconds": 0}, {"percent": 50, "bake_seconds": 0}]})
    canary.run(1800)
    assert canary.now().phase == 1
    clock.wait(10)
    canary.tick()
    assert (canary.verdict().phase, canary.verdict().verdict) == (1, "continue")
    assert canary.now().phase == 1


def test_a_failing_canary_is_rolled_back_with_reason_measurements_and_audit_at_once(
    canary: "Canary", connection: Connection, behaviour: "type[Behaviour]"
) -> None:
    started = canary.start()
    canary.run(300, behaviour(errors=0.003), behaviour(errors=0.003))
    assert canary.run(300, behaviour(errors=0.1), behaviour(errors=0.003)) <= 30
    assert (canary.now().canary_percent, canary.now().status) == (0, "rolled_back")
    assert canary.status_of(canary.canary) is Status.ROLLED_BACK
    assert canary.status_of(canary.production) is Status.PRODUCTION
    (row,) = connection.execute(
        "SELECT product, canary_model_id::text, production_model_id::text, rollout_id::text, rolled_back_by, reason,"
        " jsonb_array_length(measurements) > 5 FROM sira_canary_rollback_log"
    ).fetchall()
    versions = (canary.canary.model_id, canary.production.model_id)
    assert row[:5] == ("fraud_score", *versions, started.rollout_id, "controller")
    assert row[5].startswith("error_ratio: errors: canary ")
    assert row[6]
    assert history(connection, subject=started.rollout_id)[0].action == "canary.rolled_back"
    assert canary.verdict().action == "rollback"
    assert canary.tick() is None


def test_a_slow_canary_is_rolled_back_within_thirty_seconds(canary: "Canary", behaviour: "type[Behaviour]") -> None:
    canary.start()
    canary.run(300)
    assert canary.run(300, behaviour(seconds=0.02)) <= 30
    assert canary.now().status == "rolled_back"


def test_failures_of_both_arms_at_once_roll_nothing_back(canary: "Canary", behaviour: "type[Behaviour]") -> None:
    canary.start()
    canary.run(300)
    sick = behaviour(errors=0.3, seconds=0.05)
    assert canary.run(300, sick, sick) == 300
    assert canary.now().status == "running"


def test_one_open_fuse_rolls_the_canary_back_everywhere(
    canary: "Canary", connection: Connection, clock: "Clock"
) -> None:
    rollout_id = canary.start().rollout_id
    canary.run(30)
    connection.execute(
        "INSERT INTO sira_canary_fuse_trips VALUES (%s, 'pod-1/7', clock_timestamp(), 4, 4, false)", (rollout_id,)
    )
    canary.tick()
    assert canary.now().status == "rolled_back"


def test_a_fuse_report_while_production_fails_holds_for_ten_minutes(
    canary: "Canary", connection: Connection, clock: "Clock"
) -> None:
    rollout_id = canary.start().rollout_id
    canary.run(30)
    connection.execute(
        "INSERT INTO sira_canary_fuse_trips VALUES (%s, 'pod-1/7', clock_timestamp(), 4, 4, true)", (rollout_id,)
    )
    canary.run(20)
    assert canary.verdict().verdict == "hold"
    clock.wait(545)
    canary.run(20)
    assert canary.verdict().verdict == "hold"
    canary.run(30)
    assert canary.verdict().verdict != "hold"


def test_a_paused_canary_waits_but_may_still_be_rolled_back(
    canary: "Canary", connection: Connection, behaviour: "type[Behaviour]"
) -> None:
    canary.start(plan={"steps": [{"percent": 10, "bake_seconds": 0}, {"percent": 50}]})
    with connection.transaction():
        operations.pause(connection, "fraud_score", Change("ops_ana"))
    assert canary.run(700) == 700
    assert (canary.verdict().verdict, canary.verdict().action) == ("advance", "hold")
    canary.run(300, behaviour(errors=0.5))
    assert canary.now().status == "rolled_back"


def test_a_percentage_below_the_plan_waits_for_an_operator_forever(canary: "Canary", connection: Connection) -> None:
    canary.start(percent=5, plan={"steps": [{"percent": 10, "bake_seconds": 0}]})
    assert canary.run(1300) == 1300
    assert (canary.verdict().verdict, canary.verdict().action) == ("advance", "hold")
    with connection.transaction():
        operations.next_step(connection, "fraud_score", Change("ops_ana"))
    assert (canary.now().canary_percent, canary.now().step) == (10, 0)


def test_a_canary_promoted_in_the_registry_ends_its_rollout_as_promoted(
    canary: "Canary", connection: Connection
) -> None:
    canary.start()
    canary.run(10)
    with connection.transaction():
        change_status(connection, canary.canary.model_id, Status.PRODUCTION, actor="ops_ana")
    canary.tick()
    assert (canary.now().status, canary.now().canary_percent) == ("promoted", 0)


def test_a_new_production_version_restarts_the_step(
    canary: "Canary", connection: Connection, register: Callable[..., ModelVersion]
) -> None:
    canary.start()
    canary.run(60)
    fix = register("3")
    with connection.transaction():
        change_status(connection, fix.model_id, Status.PRODUCTION, actor="ops_ana")
    canary.tick()
    rollout = canary.now()
    assert (rollout.production_model_id, rollout.phase, rollout.status) == (fix.model_id, 1, "running")
    assert canary.run(60) == 60


def test_evidence_that_has_stopped_is_stale_and_holds(canary: "Canary", clock: "Clock") -> None:
    canary.start()
    canary.run(60)
    clock.wait(60)
    canary.tick()
    assert canary.verdict().verdict == "hold"
    assert "s old" in canary.verdict().reasons[0]
    canary.run(30)
    assert canary.verdict().verdict == "continue"


def test_silence_while_no_controller_ran_does_not_count_against_the_canary(
    canary: "Canary", connection: Connection, clock: "Clock"
) -> None:
    rollout_id = canary.start(plan=PLAN).rollout_id
    canary.run(120)
    for _ in range(0, 900, 5):
        canary.serve_production_only()
        clock.wait(5)
    canary.tick()
    assert (canary.now().status, canary.now().canary_percent, canary.now().phase) == ("running", 10, 1)
    assert history(connection, subject=rollout_id, limit=1)[0].action == "canary.step_restarted"
    assert canary.run(60) == 60
    assert canary.now().status == "running"


def test_a_short_absence_of_the_controller_restarts_nothing(canary: "Canary") -> None:
    canary.start(plan=PLAN)
    canary.run(60)
    canary.run(300, ticks=False)
    canary.tick()
    assert (canary.now().status, canary.now().phase) == ("running", 0)


def test_an_unknown_alert_state_holds(canary: "Canary") -> None:
    canary.start(limits={})
    canary.run(60)
    assert canary.verdict().verdict == "hold"
    assert "Alertmanager" in canary.verdict().reasons[0]


def test_a_rollout_that_cannot_be_judged_does_not_stop_the_others(
    canary: "Canary", connection: Connection, register: Callable[..., ModelVersion], sources: Sources, clock: "Clock"
) -> None:
    broken = canary.start()
    other = type(canary)(
        connection, clock, sources, register("1", Status.PRODUCTION, "zebra"), register("2", product="zebra")
    )
    other.start()
    connection.execute(
        "UPDATE sira_canary_config SET judge_state = 'not JSON' WHERE rollout_id = %s", (broken.rollout_id,)
    )
    other.run(30)
    assert other.verdict().verdict == "continue"
    assert latest_verdict(connection, broken.rollout_id) is None


def test_only_the_holder_of_the_lease_judges_until_it_is_stale(canary: "Canary", clock: "Clock") -> None:
    canary.start()
    assert canary.tick("first")
    assert canary.tick("second") is None
    clock.wait(5)
    assert canary.tick("first")
    clock.wait(5)
    assert canary.tick("second") is None
    clock.wait(3)
    assert canary.tick("second")
    assert canary.tick("first") is None


def test_a_sealed_bucket_never_changes_after_it_was_read(
    canary: "Canary", connection: Connection, database_url: str, clock: "Clock"
) -> None:
    rollout_id = canary.start().rollout_id
    with connect(database_url, name="shipper") as shipper, connect(database_url, name="other") as other:
        shipper.execute("SELECT pg_advisory_xact_lock_shared(hashtext('sira_evidence'), hashtext(%s))", (rollout_id,))
        other.execute("SET lock_timeout = '100ms'")
        with pytest.raises(Exception, match="lock timeout"):
            evidence_store.lock_evidence(other, [rollout_id])
        other.rollback()
        shipper.commit()
        evidence_store.lock_evidence(other, [rollout_id])


def test_dispersion_is_estimated_once_per_hour_and_stored_with_the_verdict(
    canary: "Canary", connection: Connection, clock: "Clock"
) -> None:
    canary.start()
    canary.run(10)
    assert canary.now().dispersion is None
    connection.execute(
        "INSERT INTO sira_production_errors SELECT 'fraud_score', date_bin('30 s', clock_timestamp(), 'epoch')"
        " - s * interval '30 s', half, 3000, CASE WHEN s %% 10 = half * 5 THEN 90 ELSE 0 END"
        " FROM generate_series(1, 1000) AS s, generate_series(0, 1) AS half",
        (),
    )
    canary.run(60)
    assert canary.verdict().dispersion is None
    clock.wait(3600)
    canary.run(10)
    assert canary.now().dispersion == canary.verdict().dispersion
    assert canary.verdict().dispersion == 10.0


def test_continuous_shipments_of_many_processes_do_not_starve_a_tick(
    canary: "Canary", connection: Connection, database_url: str
) -> None:
    rollout_id = canary.start().rollout_id
    stopping = threading.Event()

    def ship_again_and_again() -> None:
        with connect(database_url, name="shipper", autocommit=True) as shipper:
            prepare_shipping(shipper)
            while not stopping.is_set():
                with shipper.transaction():
                    shipper.execute("INSERT INTO staged_paired (rollout_id) VALUES (%s)", (rollout_id,))
                    shipper.execute(SHIPPER_QUERIES["lock_rollouts"])
                    time.sleep(0.02)
                time.sleep(0.005)

    shippers = [threading.Thread(target=ship_again_and_again) for _ in range(12)]
    for shipper in shippers:
        shipper.start()
    time.sleep(0.5)
    began = time.monotonic()
    for _ in range(5):
        assert canary.tick()
    took = time.monotonic() - began
    stopping.set()
    for shipper in shippers:
        shipper.join()
    assert took < 3


def test_the_least_privileged_role_may_do_everything_that_a_controller_does(
    canary: "Canary", database_url: str, sources: Sources, behaviour: "type[Behaviour]"
) -> None:
    canary.start()
    canary.run(30)
    with connect(database_url, name="service", autocommit=True) as service:
        service.execute("SET ROLE sira_service")
        assert tick(service, "tests", sources, stale_seconds=0)
        label = Label("fraud_score", "e1", "fraud", "review", datetime.now(UTC))
        assert insert_labels(service, [label], actor="tests") == 1
        count_labels(service, maturity=timedelta(days=30))
        upkeep.make_partitions(service, days_ahead=9)
        upkeep.drop_partitions(service, retention_days=400)
        upkeep.thin_verdicts(service)
        upkeep.drop_production_errors(service)
        upkeep.drop_evidence(service, retention_days=400)
        assert upkeep.newest_rows(service).keys() == {"fraud_score"}
        with service.transaction():
            operations.next_step(service, "fraud_score", Change("ops_ana"))
            operations.stop(service, "fraud_score", Change("ops_ana"))
    assert canary.now().status == "stopped"


def test_a_rollout_that_ignores_alerts_does_not_hold_without_an_alertmanager(canary: "Canary") -> None:
    request = read(
        CanaryToStart, {"product": canary.product, "canary_percent": 10, "canary_model_id": canary.canary.model_id}
    )
    with canary.connection.transaction():
        rollout, _ = operations.start_or_change(canary.connection, request, actor="ops_ana", ignore_alerts=True)
    assert rollout.limits.critical_alerts == "ignore"
