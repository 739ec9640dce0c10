"""From the spool to Postgres: every row once, with the evidence it adds to, whatever stands in between."""

import fcntl
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from canary.judge.evidence import latency_bin, score_bin
from lab.postgres import LocalPostgres
from registry.model_version import ModelVersion, Status
from runtime import metrics
from runtime.postgres import Connection, connect
from scoring.log.prediction import FuseTripRow, Outcome, Prediction, copy_text
from scoring.log.shipper import Shipper
from scoring.log.spool import Spool
from scoring.log.store import find_prediction, prepare_shipping, ship
from tests.support.database_away import away
from tests.support.log_rows import append, new_id, paired, prediction, wait_until
from tests.support.sqlite_spools import spool_in_sqlite
from tests.support.table_model import table_model

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def shipping(database_url: str) -> Iterator[Connection]:
    """A connection as the shipper makes it."""
    with connect(database_url, name="tests-shipper", autocommit=True) as opened:
        prepare_shipping(opened)
        yield opened


def ship_rows(shipping: Connection, rows: list[Prediction], **others: list[Any]) -> int:
    with shipping.transaction():
        lines = {"predictions": rows, **others}
        return ship(shipping, {t: [copy_text(r)] for t, r in lines.items()}).predictions  # type: ignore[misc]


def ask(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    return connection.execute(query, values).fetchall()  # type: ignore[arg-type]


def count(connection: Connection, table: str = "sira_predictions") -> int:
    return int(ask(connection, f"SELECT count(*) FROM {table}")[0][0])


@pytest.fixture
def rollout_id(register: Callable[..., ModelVersion], start_rollout: Callable[..., str]) -> str:
    production = register(table_model([0.1, 0.2]))
    return start_rollout(register(table_model([0.1, 0.3]), "2", Status.CANARY), production)


# ---------------------------------------------------------------- one transaction


def test_every_column_arrives_as_it_was_spooled(shipping: Connection) -> None:
    row = prediction(
        'é"\\\t\n\r😀 \\N',
        payload='{"amount":1e-05,"note":"\\u001f \\\\ 日本","null":null}',
        score=0.1 + 0.2,
        created_at=1_700_000_000.123456,
        latency_seconds=1e-05,
        model_seconds=None,
        routing_key="k\\",
        product="fraud_score",
    )
    assert ship_rows(shipping, [row]) == 1
    stored = find_prediction(shipping, row.prediction_id)
    assert stored is not None
    for name in set(Prediction.__struct_fields__) - {"created_at", "payload"}:
        assert getattr(stored, name) == getattr(row, name), name
    assert bytes(stored.payload) == row.payload.encode()
    assert stored.created_at == datetime.fromtimestamp(row.created_at, UTC)


def test_text_arrives_as_it_is_whatever_the_environment_calls_its_encoding(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with connect(database_url, name="tests", autocommit=True) as shipping:
        prepare_shipping(shipping)
        ship_rows(shipping, [prediction("é 日本")])
        assert ask(shipping, "SELECT event_id FROM sira_predictions") == [("é 日本",)]


def test_shipping_again_writes_nothing_and_counts_nothing(shipping: Connection, rollout_id: str) -> None:
    rows = [prediction(f"e{n}", rollout_id=rollout_id, phase=0) for n in range(20)]
    pairs = [paired(row) for row in rows]
    assert ship_rows(shipping, rows, paired=pairs) == 20
    before = [
        ask(shipping, "SELECT * FROM sira_canary_evidence"),
        ask(shipping, "SELECT * FROM sira_canary_paired_evidence"),
        ask(shipping, "SELECT * FROM sira_prediction_hours"),
        ask(shipping, "SELECT * FROM sira_production_errors ORDER BY half"),
    ]
    assert ship_rows(shipping, rows, paired=pairs) == 0
    assert ship_rows(shipping, rows * 3, paired=pairs * 2) == 0
    assert count(shipping) == 20
    assert before == [
        ask(shipping, "SELECT * FROM sira_canary_evidence"),
        ask(shipping, "SELECT * FROM sira_canary_paired_evidence"),
        ask(shipping, "SELECT * FROM sira_prediction_hours"),
        ask(shipping, "SELECT * FROM sira_production_errors ORDER BY half"),
    ]


def test_the_same_event_on_both_sides_of_midnight_is_one_prediction(shipping: Connection) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    assert ship_rows(shipping, [prediction(created_at=midnight - 1)]) == 1
    assert ship_rows(shipping, [prediction(created_at=midnight + 1)]) == 0
    assert count(shipping) == 1


def test_a_row_whose_day_has_no_partition_is_kept(shipping: Connection) -> None:
    far = time.time() + timedelta(days=900).total_seconds()
    assert ship_rows(shipping, [prediction(created_at=far)]) == 1
    assert count(shipping, "sira_predictions_default") == 1


def random_rows(rollout_id: str, count: int) -> list[Prediction]:
    """Every mix of arm, variant, outcome and decision that a scorer can log."""
    draw = random.Random(7)
    rows = []
    for n in range(count):
        arm = draw.choice(["production", "canary"])
        allowed = [o for o in get_args(Outcome) if arm == "canary" or not o.startswith("canary_")]
        outcome = draw.choice([*allowed, "ok", "ok", "ok"])
        failed = outcome in ("error", "timeout", "non_finite")
        variant = arm if outcome == "ok" else "production"
        score = None if failed else draw.random()
        rows.append(
            prediction(
                f"e{n}",
                rollout_id=rollout_id,
                phase=draw.choice([0, 1]),
                arm=arm,
                variant=variant,
                outcome=outcome,
                score=score,
                decision=None if score is None else draw.choice(["allow", "review", "block"]),
                cached=draw.random() < 0.2,
                latency_seconds=draw.lognormvariate(-5, 2),
                model_seconds=draw.lognormvariate(-6, 2) if outcome == "ok" else None,
                created_at=time.time() - draw.random() * 20,
            )
        )
    return rows


def test_evidence_equals_a_count_of_the_predictions(shipping: Connection, rollout_id: str) -> None:
    rows = random_rows(rollout_id, 600)
    for first in range(0, 600, 50):
        ship_rows(shipping, rows[first : first + 50])
    evidence = ask(
        shipping,
        "SELECT phase, arm, sum(requests), sum(errors), sum(timeouts), sum(allowed), sum(reviewed), sum(blocked),"
        " sira_histogram_sum(latency), sira_histogram_sum(scores) FROM sira_canary_evidence"
        " GROUP BY 1, 2 ORDER BY 1, 2",
    )
    counted = ask(
        shipping,
        "SELECT phase, arm, count(*), count(*) FILTER (WHERE outcome <> 'ok'),"
        " count(*) FILTER (WHERE outcome IN ('canary_timeout', 'timeout')),"
        " count(*) FILTER (WHERE decision = 'allow' AND variant = arm),"
        " count(*) FILTER (WHERE decision = 'review' AND variant = arm),"
        " count(*) FILTER (WHERE decision = 'block' AND variant = arm)"
        " FROM sira_predictions GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert len(counted) == 4
    assert [row[:8] for row in evidence] == counted
    for phase, arm, *_, latency, scores in evidence:
        own = [row for row in rows if (row.phase, row.arm, row.variant) == (phase, arm, arm)]
        assert latency == tally(latency_bin(row.model_seconds) for row in own if row.model_seconds is not None)
        assert scores == tally(score_bin(row.score) for row in own if row.score is not None)


def tally(bins: Iterator[int] | Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for bin_ in bins:
        found[str(bin_)] = found.get(str(bin_), 0) + 1
    return found


def test_hours_and_production_s_halves_equal_a_count_too(shipping: Connection, rollout_id: str) -> None:
    ship_rows(shipping, random_rows(rollout_id, 300))
    assert ask(
        shipping,
        "SELECT hour, variant, decision, outcome, sum(predictions), sum(cached) FROM sira_prediction_hours"
        " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    ) == ask(
        shipping,
        "SELECT date_trunc('hour', created_at, 'UTC'), variant, coalesce(decision, 'none'), outcome, count(*),"
        " count(*) FILTER (WHERE cached) FROM sira_predictions GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    )
    assert ask(shipping, "SELECT sum(requests), sum(errors), count(DISTINCT half) FROM sira_production_errors") == ask(
        shipping,
        "SELECT count(*), count(*) FILTER (WHERE outcome <> 'ok'), 2::bigint FROM sira_predictions"
        " WHERE arm = 'production'",
    )


def test_paired_evidence_counts_who_blocked(shipping: Connection, rollout_id: str) -> None:
    both = [("block", "block")] * 1 + [("block", "allow")] * 2 + [("review", "block")] * 3 + [("allow", "review")] * 4
    rows = [prediction(f"e{n}", rollout_id=rollout_id, phase=0) for n in range(10)]
    pairs = [
        paired(row, canary_decision=canary, production_decision=production)
        for row, (canary, production) in zip(rows, both, strict=True)
    ]
    ship_rows(shipping, rows, paired=pairs)
    assert ask(
        shipping, "SELECT sum(n11), sum(n10), sum(n01), sum(n00), sum(decision_flips) FROM sira_canary_paired_evidence"
    ) == [(1, 2, 3, 4, 9)]


@pytest.mark.parametrize(("ahead", "where"), [(-3600, "sealed"), (0, "now"), (3600, "now")])
def test_a_row_counts_in_a_bucket_that_is_still_open(
    shipping: Connection, rollout_id: str, ahead: float, where: str
) -> None:
    """A late row, or one of a clock behind, counts where sealing stands; one of a clock ahead counts now."""
    row = prediction(rollout_id=rollout_id, phase=0, arm="canary", variant="canary", created_at=time.time() + ahead)
    ship_rows(shipping, [row], paired=[paired(row)])
    for table in ("sira_canary_evidence", "sira_canary_paired_evidence"):
        ((start, sealed_through, age),) = ask(
            shipping,
            f"SELECT bucket_start, sealed_through, extract(epoch FROM clock_timestamp() - bucket_start)"
            f" FROM {table} JOIN sira_canary_config USING (rollout_id)",
        )
        assert start >= sealed_through
        assert -5 <= age < 30
        assert start == sealed_through or where == "now"


def test_a_row_never_slips_into_a_bucket_that_a_tick_is_sealing(
    shipping: Connection, connection: Connection, rollout_id: str, database_url: str
) -> None:
    row = prediction(rollout_id=rollout_id, phase=0, created_at=time.time() - 60)
    spool_like = subprocess.Popen(
        [sys.executable, "-c", SHIP_ONE, database_url, copy_text([row]).decode()],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert spool_like.stdout is not None
    assert spool_like.stdin is not None
    assert spool_like.stdout.readline() == "ready\n"
    with connection.transaction():
        # What canary/tick.py does before it reads the evidence that it seals.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('sira_evidence'), hashtext(%s))", (rollout_id,))
        spool_like.stdin.write("go\n")
        spool_like.stdin.flush()
        assert wait_until(
            lambda: bool(ask(connection, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")), 10
        )
        connection.execute("UPDATE sira_canary_config SET sealed_through = date_bin('5 s', now() + '1 min', 'epoch')")
    spool_like.communicate(timeout=20)
    assert spool_like.returncode == 0
    assert ask(connection, "SELECT bucket_start = sealed_through FROM sira_canary_evidence, sira_canary_config") == [
        (True,)
    ]


SHIP_ONE = """
import sys
from runtime.postgres import connect
from scoring.log.store import prepare_shipping, ship
with connect(sys.argv[1], name="tests", autocommit=True) as connection:
    prepare_shipping(connection)
    print("ready", flush=True)
    sys.stdin.readline()
    with connection.transaction():
        ship(connection, {"predictions": [sys.argv[2].encode()]})
"""


def test_fuse_trips_reach_the_controller(shipping: Connection, rollout_id: str) -> None:
    trip = FuseTripRow(rollout_id, "pod\\1/7", 1_700_000_000.5, 4, 4, False)
    for _ in range(2):
        ship_rows(shipping, [], trips=[trip])
    assert ask(
        shipping,
        "SELECT rollout_id::text, process, extract(epoch FROM tripped_at)::float8, requests, errors,"
        " production_failing FROM sira_canary_fuse_trips",
    ) == [(rollout_id, "pod\\1/7", 1_700_000_000.5, 4, 4, False)]


def test_the_least_privileged_role_can_ship_and_can_change_nothing_shipped(
    postgres: LocalPostgres, database_url: str, connection: Connection, rollout_id: str
) -> None:
    name, password = f"service_{new_id()[:8]}", "a-password-for-tests"
    connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE sira_service").format(
            sql.Identifier(name), sql.Literal(password)
        )
    )
    parts = urlsplit(database_url)
    own_url = urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))
    try:
        with connect(own_url, name="tests", autocommit=True) as service:
            prepare_shipping(service)
            row = prediction(rollout_id=rollout_id, phase=0)
            trip = FuseTripRow(rollout_id, "p", 1.0, 4, 4, False)
            assert ship_rows(service, [row], paired=[paired(row)], trips=[trip]) == 1
            for statement in (
                "UPDATE sira_predictions SET score = 0",
                "DELETE FROM sira_predictions",
                "TRUNCATE sira_predictions",
                "UPDATE sira_paired_predictions SET canary_score = 0",
                "DELETE FROM sira_canary_fuse_trips",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    service.execute(statement)  # type: ignore[call-overload]
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


# ---------------------------------------------------------------- the task


@dataclass
class Worker:
    """A spool and its shipper, as a serving process has them."""

    spool: Spool
    shipper: Shipper


@pytest.fixture
def worker(tmp_path: Path, database_url: str) -> Iterator[Worker]:
    spool = Spool.open(tmp_path / "spool", limit_bytes=1 << 26)
    shipper = Shipper(spool, tmp_path / "spool", database_url)
    shipper.start()
    yield Worker(spool, shipper)
    shipper.stop(10)
    spool.close()


def test_a_row_is_in_postgres_within_a_second(worker: Worker, connection: Connection) -> None:
    append(worker.spool, [prediction("warm-up")])
    assert wait_until(lambda: count(connection) == 1)
    started = time.monotonic()
    append(worker.spool, [prediction("e")])
    assert wait_until(lambda: count(connection) == 2)
    assert time.monotonic() - started < 1
    assert wait_until(lambda: worker.spool.waiting_rows == 0)


def test_a_row_that_postgres_refuses_is_set_aside_and_the_others_go_on(worker: Worker, connection: Connection) -> None:
    rows = [prediction(f"e{n}") for n in range(9)]
    bad = [
        prediction("bad decision", decision="maybe"),
        prediction("bad id", prediction_id="not a uuid"),
        prediction("bad payload", payload='{"a": "\\ud800'),
        prediction("a field\ttoo many", model_version="1\t2"),
    ]
    append(worker.spool, [*rows[:3], *bad[:2], *rows[3:6]])
    append(worker.spool, [*bad[2:], *rows[6:]])
    assert wait_until(lambda: count(connection) == 9)
    assert wait_until(lambda: worker.spool.waiting_rows == 0)
    refused = worker.spool.file.refused()
    assert {row.reason.split()[1] for row in refused} == {"23514", "22P02", "22P04"}
    assert [row.row.encode() for row in refused] == [copy_text([row]) for row in bad]


def test_while_postgres_is_away_rows_wait_and_then_all_arrive_once(
    worker: Worker, postgres: LocalPostgres, database_url: str
) -> None:
    ids = [f"e{n}" for n in range(300)]
    with connect(postgres.url("postgres"), name="tests", autocommit=True) as admin:
        append(worker.spool, [prediction(event_id) for event_id in ids[:100]])
        away(admin, database_url, True)
        for first in range(100, 300, 20):
            append(worker.spool, [prediction(event_id) for event_id in ids[first : first + 20]])
        time.sleep(0.5)
        assert worker.spool.waiting_rows >= 200
        away(admin, database_url, False)
    with connect(database_url, name="tests", autocommit=True) as connection:
        assert wait_until(lambda: count(connection) == 300)
        assert sorted(row[0] for row in ask(connection, "SELECT event_id FROM sira_predictions")) == sorted(ids)
    assert wait_until(lambda: worker.spool.waiting_rows == 0)


ABANDON = """
import os, sys, time
from pathlib import Path
from scoring.log.spool import Spool
from tests.support.database_away import away
from tests.support.log_rows import append, prediction
spool = Spool.open(Path(sys.argv[1]), limit_bytes=1 << 26)
append(spool, [prediction(f"abandoned{n}") for n in range(50)])
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_shipped_by_the_next(
    tmp_path: Path, database_url: str, connection: Connection
) -> None:
    folder = tmp_path / "spool"
    for _ in range(2):  # the second time another file's, while a live process holds its own
        subprocess.run([sys.executable, "-c", ABANDON, str(folder)], cwd=ROOT, check=False)
    spool = Spool.open(folder, limit_bytes=1 << 26)
    subprocess.run([sys.executable, "-c", ABANDON.replace("abandoned", "beside"), str(folder)], cwd=ROOT, check=False)
    shipper = Shipper(spool, folder, database_url)
    shipper.start()
    try:
        assert wait_until(lambda: count(connection) == 100)
        assert wait_until(lambda: spool.waiting_rows == 0)
        assert {path.parent.name for path in folder.glob("spool-*/*.segment")} == {"spool-0"}
    finally:
        shipper.stop(10)
        spool.close()


def test_stopping_ships_what_is_there_first(tmp_path: Path, database_url: str, connection: Connection) -> None:
    spool = Spool.open(tmp_path, limit_bytes=1 << 26)
    shipper = Shipper(spool, tmp_path, database_url)
    append(spool, [prediction(f"e{n}") for n in range(9_000)])
    append(spool, [prediction("last")])
    shipper.start()
    shipper.stop(20)
    spool.close()
    assert count(connection) == 9_001


def test_a_restart_ships_what_is_new_and_reads_nothing_again(
    tmp_path: Path, database_url: str, connection: Connection
) -> None:
    for life in range(3):
        spool = Spool.open(tmp_path, limit_bytes=1 << 26)
        assert spool.waiting_rows == 0
        shipper = Shipper(spool, tmp_path, database_url)
        append(spool, [prediction(f"life{life}-{n}") for n in range(5)])
        shipper.start()
        assert wait_until(lambda spool=spool: spool.waiting_rows == 0)  # type: ignore[misc]
        shipper.stop(10)
        spool.close()
        assert count(connection) == 5 * (life + 1)


def test_rows_that_are_read_again_are_in_the_log_once(
    tmp_path: Path, database_url: str, connection: Connection, rollout_id: str
) -> None:
    """A power cut may lose the mark of what was shipped."""
    rows = [prediction(f"e{n}", rollout_id=rollout_id, phase=0) for n in range(40)]
    for number in range(2):
        spool = Spool.open(tmp_path, limit_bytes=1 << 26)
        if number == 0:
            append(spool, rows)
            (path,) = [path for path in spool.file.path.glob("*.segment") if b"e39" in path.read_bytes()]
            unshipped = path.read_bytes()
        assert spool.waiting_rows == 40
        shipper = Shipper(spool, tmp_path, database_url)
        shipper.start()
        assert wait_until(lambda spool=spool: spool.waiting_rows == 0)  # type: ignore[misc]
        shipper.stop(10)
        spool.close()
        path.write_bytes(unshipped)
    assert count(connection) == 40
    assert ask(connection, "SELECT sum(requests)::int FROM sira_canary_evidence") == [(40,)]
    assert ask(connection, "SELECT sum(predictions)::int FROM sira_prediction_hours") == [(40,)]


def test_the_rows_of_a_spool_in_sqlite_are_shipped_and_its_files_removed(
    worker: Worker, tmp_path: Path, connection: Connection
) -> None:
    rows = [prediction(f"old{n}") for n in range(1_000)]
    old = tmp_path / "spool" / "spool-0.sqlite"
    refused = [("a defect", "predictions", b"bad\n")]
    spool_in_sqlite(old, [copy_text(rows[first : first + 2]) for first in range(0, 1_000, 2)], refused)
    append(worker.spool, [prediction("new")])
    assert wait_until(lambda: count(connection) == 1_001, 30)
    assert wait_until(lambda: not list(old.parent.glob("*.sqlite*")) or not old.exists())
    assert [(row.reason, row.row) for row in worker.spool.file.refused()] == [("a defect", "bad\n")]


def test_a_spool_in_sqlite_whose_process_lives_is_left_alone(
    tmp_path: Path, database_url: str, connection: Connection
) -> None:
    old = tmp_path / "spool-0.sqlite"
    spool_in_sqlite(old, [copy_text([prediction("old")])], [])
    with old.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        spool = Spool.open(tmp_path, limit_bytes=1 << 26)
        shipper = Shipper(spool, tmp_path, database_url)
        shipper.start()
        append(spool, [prediction("new")])
        assert wait_until(lambda: count(connection) == 1)
        shipper.stop(10)
        spool.close()
    assert old.exists()
    assert count(connection) == 1


def test_the_shipper_goes_on_after_a_time_in_which_it_could_not_open_a_file(
    tmp_path: Path, database_url: str, connection: Connection
) -> None:
    spool = Spool.open(tmp_path, limit_bytes=1 << 26)
    append(spool, [prediction("kept")])
    (path,) = [path for path in spool.file.path.glob("*.segment") if b"kept" in path.read_bytes()]
    path.rename(tmp_path / "away")
    shipper = Shipper(spool, tmp_path, database_url)
    failures = metrics.log_ship_failures._value
    before = failures.get()
    shipper.start()
    try:
        assert wait_until(lambda: failures.get() > before)
        (tmp_path / "away").rename(path)
        assert wait_until(lambda: count(connection) == 1, 20)
    finally:
        shipper.stop(10)
        spool.close()


def test_a_dead_process_s_spool_that_cannot_be_read_does_not_hold_up_the_others(
    tmp_path: Path, database_url: str, connection: Connection
) -> None:
    (tmp_path / "spool-1").mkdir(parents=True)
    (tmp_path / "spool-1" / "0.segment").mkdir()
    (tmp_path / "spool-2.sqlite").write_bytes(b"not a database" * 100)
    spool_in_sqlite(tmp_path / "spool-3.sqlite", [copy_text([prediction("old")])], [])
    spool = Spool.open(tmp_path, limit_bytes=1 << 26)
    shipper = Shipper(spool, tmp_path, database_url)
    shipper.start()
    try:
        assert wait_until(lambda: count(connection) == 1, 15)
        assert wait_until(lambda: not (tmp_path / "spool-3.sqlite").exists())
        assert (tmp_path / "spool-2.sqlite").exists()
    finally:
        shipper.stop(10)
        spool.close()


def test_own_rows_do_not_wait_until_a_large_spool_of_a_dead_process_is_shipped(
    tmp_path: Path, database_url: str, connection: Connection
) -> None:
    own, dead = (Spool.open(tmp_path, limit_bytes=1 << 26) for _ in range(2))
    for first in range(0, 48_000, 4_000):
        append(dead, [prediction(f"left{n}") for n in range(first, first + 4_000)])
    dead.close()
    shipper = Shipper(own, tmp_path, database_url)
    shipper.start()
    try:
        assert wait_until(lambda: count(connection) >= 4_000, 20)
        append(own, [prediction("own")])
        found = "SELECT 1 FROM sira_predictions WHERE event_id = 'own'"
        assert wait_until(lambda: bool(ask(connection, found)), 20)
        assert count(connection) < 48_001
        assert wait_until(lambda: count(connection) == 48_001, 60)
    finally:
        shipper.stop(10)
        own.close()
