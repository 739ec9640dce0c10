"""What the checklists read, who may write what, and how long it is kept: straight against the schema."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from canary.judge.evidence import LAST_LATENCY_BIN, latency_bin, latency_edge
from runtime.postgres import Connection, connect

HOUR = datetime(2026, 11, 23, 14, tzinfo=UTC)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened


def add_version(connection: Connection, version: str, status: str) -> UUID:
    row = connection.execute(
        """
        INSERT INTO siramodel_registry (product, name, version, status, storage_s3_key, sha256, size_bytes, signature,
                                        thresholds)
        VALUES ('fraud_score', 'm', %s, %s, 'key', repeat('a', 64), 1, '{}', '{"review": 0.5, "block": 0.9}')
        RETURNING model_id
        """,
        (version, status),
    ).fetchone()
    assert row
    return UUID(str(row[0]))


def add_prediction(connection: Connection, day: datetime) -> UUID:
    prediction_id = uuid4()
    connection.execute(
        """
        INSERT INTO sira_predictions (prediction_id, day, created_at, product, event_id, routing_key, payload,
            payload_sha256, model_id, model_version, artifact_sha256, runtime_version, score, decision,
            review_threshold, block_threshold, variant, arm, cached, latency_seconds, outcome)
        VALUES (%s, %s, %s, 'fraud_score', 'e', 'e', '{}', '', gen_random_uuid(), '1', '', '', 0.1, 'allow',
            0.5, 0.9, 'production', 'production', false, 0.004, 'ok')
        """,
        (prediction_id, day.date(), day),
    )
    return prediction_id


def add_hour(connection: Connection, decision: str, outcome: str, predictions: int, latency: str = "{}") -> None:
    connection.execute(
        """
        INSERT INTO sira_prediction_hours (hour, product, model_id, variant, decision, outcome, predictions, latency)
        VALUES (%s, 'fraud_score', gen_random_uuid(), 'production', %s, %s, %s, %s)
        """,
        (HOUR, decision, outcome, predictions, latency),
    )


def test_active_models_are_those_in_production_and_canary(connection: Connection) -> None:
    for number, status in enumerate(("staging", "production", "canary", "retired", "archived", "rolled_back")):
        add_version(connection, str(number), status)
    rows = connection.execute("SELECT status FROM v_active_models").fetchall()
    assert rows == [("production",), ("canary",)]


def test_the_daily_shares_of_decisions_add_up_to_one(connection: Connection) -> None:
    for decision, count in (("allow", 960), ("review", 30), ("block", 10)):
        add_hour(connection, decision, "ok", count)
    rows = connection.execute("SELECT decision, predictions, share FROM v_decision_distribution_daily").fetchall()
    assert {("allow", 960), ("review", 30), ("block", 10)} == {(decision, count) for decision, count, _ in rows}
    assert sum(share for *_, share in rows) == 1


def test_the_hourly_view_gives_error_rate_and_p95(connection: Connection) -> None:
    fast, slow = latency_bin(0.005), latency_bin(0.050)
    add_hour(connection, "allow", "ok", 995, f'{{"{fast}": 900, "{slow}": 95}}')
    add_hour(connection, "none", "error", 5)
    row = connection.execute("SELECT predictions, errors, error_rate, p95_seconds FROM v_service_health_hourly")
    predictions, errors, rate, p95 = row.fetchone() or ()
    assert (predictions, errors) == (1000, 5)
    assert float(rate) == 0.005
    assert p95 == pytest.approx(latency_edge(slow))


def test_every_view_answers_on_an_empty_database(connection: Connection) -> None:
    names = connection.execute("SELECT viewname FROM pg_views WHERE viewname LIKE 'v\\_%'").fetchall()
    assert len(names) >= 6
    for (name,) in names:
        assert connection.execute(f"SELECT * FROM {name}".encode()).fetchall() == []


def test_the_runbooks_manual_rollback_entry_is_accepted_and_read_back(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO sira_canary_rollback_log (product, canary_model_id, production_model_id, reason, rolled_back_by)"
        " VALUES ('fraud_score', gen_random_uuid(), gen_random_uuid(), 'manual_rollback_high_error_rate', 'ops_john')"
    )
    latest = "SELECT * FROM sira_canary_rollback_log WHERE product = 'fraud_score' ORDER BY created_at DESC LIMIT 1"
    assert connection.execute(latest.encode()).fetchone()
    assert connection.execute("SELECT rolled_back_by FROM v_rollbacks").fetchone() == ("ops_john",)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.0010001, 0.03, 9.9, 10.0, 11.0, 1e9, math.inf])
def test_the_database_and_the_judge_put_a_latency_in_the_same_bin(connection: Connection, seconds: float) -> None:
    expected = latency_bin(seconds) if math.isfinite(seconds) else LAST_LATENCY_BIN
    assert connection.execute("SELECT sira_latency_bin(%s)", (seconds,)).fetchone() == (expected,)


def test_a_row_without_a_time_has_no_latency_bin(connection: Connection) -> None:
    assert connection.execute("SELECT sira_latency_bin(NULL)").fetchone() == (None,)


def test_the_bins_agree_on_both_sides_of_every_edge(connection: Connection) -> None:
    around = [
        math.nextafter(latency_edge(bin_), towards) for bin_ in range(LAST_LATENCY_BIN) for towards in (0.0, math.inf)
    ]
    rows = connection.execute("SELECT sira_latency_bin(s) FROM unnest(%s::float8[]) AS s", (around,)).fetchall()
    assert [latency_bin(seconds) for seconds in around] == [bin_ for (bin_,) in rows]


def test_a_row_without_a_partition_is_kept_and_moved_into_its_day_when_that_is_made(connection: Connection) -> None:
    day = datetime.now(UTC) + timedelta(days=30)
    prediction_id = add_prediction(connection, day)
    where = "SELECT tableoid::regclass::text FROM sira_predictions WHERE prediction_id = %s"
    assert connection.execute(where, (prediction_id,)).fetchone() == ("sira_predictions_default",)
    connection.execute("SELECT sira_make_partitions(%s, %s)", (day.date(), day.date()))
    assert connection.execute(where, (prediction_id,)).fetchone() == (f"sira_predictions_{day:%Y%m%d}",)


def test_old_days_are_dropped_and_the_last_thirty_never(connection: Connection) -> None:
    today = datetime.now(UTC)
    old = today - timedelta(days=40)
    connection.execute("SELECT sira_make_partitions(%s, %s)", (old.date(), old.date()))
    add_prediction(connection, old)
    kept = add_prediction(connection, today)
    before = (today - timedelta(days=31)).date()
    assert connection.execute("SELECT sira_drop_partitions(%s)", (before,)).fetchone() == (2,)
    assert connection.execute("SELECT prediction_id FROM sira_predictions").fetchall() == [(kept,)]
    with pytest.raises(psycopg.errors.RaiseException, match="last 30 days"):
        connection.execute("SELECT sira_drop_partitions(%s)", ((today - timedelta(days=29)).date(),))


LOGS = (
    "sira_predictions",
    "sira_paired_predictions",
    "sira_audit_log",
    "sira_canary_rollback_log",
    "sira_labels",
    "sira_prediction_reasons",
)


@pytest.mark.parametrize("table", LOGS)
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET product = 'x'"])
def test_the_service_cannot_change_what_a_log_holds(connection: Connection, table: str, statement: str) -> None:
    connection.execute("SET ROLE sira_service")
    column = "actor" if table == "sira_audit_log" else "product"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.replace("product", column).format(table).encode())


# Everything else it may only read, and the partitions under a log not even that.
MAY_CHANGE = """
siramodel_registry            INSERT UPDATE
sira_predictions              INSERT
sira_paired_predictions       INSERT
sira_audit_log                INSERT
sira_canary_rollback_log      INSERT
sira_labels                   INSERT
sira_reasons_backgrounds      INSERT
sira_model_backgrounds        INSERT
sira_prediction_reasons       INSERT
sira_model_importance         INSERT UPDATE
sira_canary_phases            INSERT
sira_canary_fuse_trips        INSERT
sira_canary_verdicts          INSERT DELETE
sira_canary_config            INSERT UPDATE
sira_canary_evidence          INSERT UPDATE
sira_canary_paired_evidence   INSERT UPDATE
sira_canary_label_evidence    INSERT UPDATE
sira_label_progress           INSERT UPDATE
sira_prediction_hours         INSERT UPDATE
sira_production_errors        INSERT UPDATE DELETE
sira_production_decisions     INSERT DELETE
sira_production_guard         INSERT UPDATE
sira_input_baselines          INSERT
sira_input_profiles           INSERT UPDATE DELETE
sira_input_profile_position   INSERT UPDATE
sira_breaker                  INSERT UPDATE
sira_control_group            INSERT UPDATE
sira_control_slots            INSERT UPDATE
sira_control_days             INSERT UPDATE
sira_controller_lease         INSERT UPDATE
sira_cohort_sums              INSERT UPDATE
sira_cohort_label_ages        INSERT UPDATE
sira_cohort_hours             INSERT UPDATE DELETE
sira_cohort_labels            INSERT UPDATE DELETE
sira_cohort_progress          INSERT UPDATE
sira_archive_days             INSERT UPDATE
sira_backtests                INSERT UPDATE
sira_shipped_hours            INSERT UPDATE DELETE
sira_log_losses               INSERT
sira_console_links            DELETE
"""


def test_the_service_may_change_just_this(connection: Connection) -> None:
    connection.execute("SELECT sira_make_partitions(current_date, current_date + 1)")
    found = connection.execute(
        "SELECT relname, string_agg(privilege, ' ' ORDER BY place) FROM pg_class,"
        " unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) WITH ORDINALITY AS asked (privilege, place)"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND"
        " CASE WHEN privilege IN ('INSERT', 'UPDATE') THEN has_any_column_privilege('sira_service', oid, privilege)"
        " ELSE has_table_privilege('sira_service', oid, privilege) END GROUP BY 1"
    ).fetchall()
    assert dict(found) == {
        name: rest.strip() for name, _, rest in (r.partition(" ") for r in MAY_CHANGE.split("\n") if r)
    }


def test_the_service_can_append_predictions_labels_and_rollbacks(connection: Connection) -> None:
    connection.execute("SET ROLE sira_service")
    add_prediction(connection, datetime.now(UTC))
    connection.execute(
        "INSERT INTO sira_labels (product, event_id, label, source, labelled_at)"
        " VALUES ('fraud_score', 'e', 'fraud', 'chargeback', now())"
    )
    connection.execute(
        "INSERT INTO sira_canary_rollback_log (product, canary_model_id, reason) VALUES ('p', gen_random_uuid(), 'r')"
    )
    assert connection.execute("SELECT count(*) FROM sira_predictions").fetchone() == (1,)


@pytest.mark.parametrize("table", ["sira_audit_log", "sira_canary_rollback_log"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {}"])
def test_not_even_the_owner_empties_an_append_only_log(connection: Connection, table: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute(statement.format(table).encode())


def test_the_service_cannot_rewrite_a_registered_version(connection: Connection) -> None:
    add_version(connection, "1", "staging")
    connection.execute("SET ROLE sira_service")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE siramodel_registry SET sha256 = repeat('b', 64)")


def test_the_service_makes_and_drops_partitions_but_no_other_table(connection: Connection) -> None:
    connection.execute("SET ROLE sira_service")
    connection.execute("SELECT sira_make_partitions(current_date, current_date)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE public.intruder ()")
