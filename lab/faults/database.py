"""Postgres away, silent, restarted, replaced, crowded, full, locked, and with another password."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from lab.faults import log_store
from lab.faults.proxy import Behaviour
from lab.faults.service import Service, ask, wait_until
from lab.faults.stand import DATABASE, NONE, ROLE, Settings, Stand, set_password
from lab.faults.trial import Scenario, Trial
from lab.faults.volume import Volume
from lab.postgres import LocalPostgres, postgres_binaries
from runtime.postgres import connect

CANARY_PERCENT = 20.0
HALF_A_MINUTE = {"full": 30.0, "quick": 8.0}
VOLUME_BYTES = 320 << 20
SPOOL_LIMIT_BYTES = 1 << 20
CALLS_AT_ONCE = 100


@contextlib.contextmanager
def _served(
    trial: Trial, settings: Settings = NONE, postgres_home: Path | None = None
) -> Iterator[tuple[Stand, Service]]:
    """Two workers with a canary under load; then the log made whole, and how long that took."""
    with trial.stand(postgres_home=postgres_home) as stand:
        stand.control()
        service = stand.serve(settings=settings)
        stand.start_canary(service, "2", CANARY_PERCENT)
        with trial.load(stand, service.port):
            trial.wait(2.0, "load")
            yield stand, service
            _await_drained(trial, service)
        trial.settle(stand)


def _await_drained(trial: Trial, service: Service) -> None:
    seconds = wait_until(
        lambda: service.metric("sira_log_oldest_unshipped_seconds") < 3.0, 120.0, "the spool is shipped"
    )
    trial.note(f"shipped {seconds:.0f} s later")


@contextlib.contextmanager
def _unnoticed(trial: Trial, service: Service) -> Iterator[None]:
    """Whatever happens meanwhile, callers get their answers and the service stays ready."""
    before, started = trial.answered(), time.monotonic()
    yield
    trial.expect_answers_went_on(before, time.monotonic() - started)
    trial.expect_ready(service)
    trial.expect_no_refusal()
    trial.note(f"{service.metric('sira_log_spool_rows'):,.0f} rows waited")


def cut(trial: Trial) -> None:
    with _served(trial) as (stand, service), _unnoticed(trial, service):
        stand.database.behave(Behaviour(refuse=True))
        trial.wait(trial.length(full=600, quick=20), "Postgres is cut off")
        stand.database.behave(Behaviour())


def hung(trial: Trial) -> None:
    """It takes connections and requests, and never answers."""
    with _served(trial) as (stand, service), _unnoticed(trial, service):
        stand.database.behave(Behaviour(hang=True))
        trial.wait(trial.length(full=120, quick=20), "Postgres hangs")
        trial.expect(service.metric("sira_log_spool_rows") > 0, "the metrics tell how many rows wait")
        _ask_for_models(trial, stand, service)
        stand.database.behave(Behaviour())


def _ask_for_models(trial: Trial, stand: Stand, service: Service) -> None:
    """More calls that need Postgres than a worker has threads: probes and metrics do not wait behind them."""
    url = f"{service.url}/v1/models"
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        calls = [pool.submit(ask, url, stand.ml_ops_token) for _ in range(CALLS_AT_ONCE)]
        time.sleep(1.0)
        started = time.monotonic()
        trial.expect_ready(service)
        seconds = time.monotonic() - started
        trial.expect(seconds < 1.0, f"the readiness probe is answered at once: {seconds:.1f} s")
        refused = [call.result().status for call in calls]
    trial.expect(set(refused) == {503}, f"calls that need Postgres end with 503: {sorted(set(refused))}")


def restarted(trial: Trial) -> None:
    """Without a checkpoint, as after a crash; and in the orderly way."""
    with _served(trial) as (stand, service), _unnoticed(trial, service):
        for number in trial.rounds(full=10, quick=2, doing="restarting Postgres"):
            if number % 2:
                stand.postgres.stop()
            else:
                _crash(stand.postgres)
            time.sleep(1.0)
            stand.restart_postgres()
            time.sleep(1.0)


def _crash(postgres: LocalPostgres) -> None:
    """Immediate shutdown: recovery replays the log at the next start."""
    pid = int((postgres.home / "data" / "postmaster.pid").read_text().partition("\n")[0])
    os.kill(pid, signal.SIGQUIT)
    postgres.stop()


def failed_over(trial: Trial) -> None:
    """To a synchronous standby, promoted when the primary has died: a new server, an empty session state."""
    with _served(trial) as (stand, service), _unnoticed(trial, service):
        standby = _standby(trial, stand)
        trial.wait(trial.length(full=10, quick=3), "replicating")
        _crash(stand.postgres)
        trial.wait(3.0, "the primary is dead")
        with connect(standby.url(DATABASE), name="faults", autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
        stand.postgres = standby
        stand.database.point_at(standby.port)


def _standby(trial: Trial, stand: Stand) -> LocalPostgres:
    """A streaming copy whose acknowledgement every commit of the primary waits for."""
    home = trial.folder / "standby"
    home.mkdir(mode=0o755)
    shutil.copy(stand.postgres.home / "password", home / "password")
    primary = stand.postgres.url("postgres")
    backup = ["pg_basebackup", "--pgdata", str(home / "data"), "--write-recovery-conf", "--checkpoint=fast"]
    program = str(postgres_binaries() / backup[0])
    subprocess.run([program, *backup[1:], "--dbname", primary], check=True, capture_output=True)
    owner = (stand.postgres.home / "data").stat()
    for path in (home, *home.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    standby = LocalPostgres.start(home)
    stand.closing(standby.stop)
    with stand.owner() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        wait_until(
            lambda: bool(connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone()),
            30.0,
            "the standby is synchronous",
        )
    return standby


def crowded(trial: Trial) -> None:
    """Others hold every connection there is."""
    with _served(trial) as (stand, service), _unnoticed(trial, service), contextlib.ExitStack() as held:
        with stand.owner() as owner:
            owner.execute("CREATE ROLE crowd LOGIN PASSWORD 'crowd'")
            crowd = f"postgresql://crowd:crowd@127.0.0.1:{stand.postgres.port}/{DATABASE}"
            ending = time.monotonic() + trial.length(**HALF_A_MINUTE)
            while time.monotonic() < ending:
                with contextlib.suppress(psycopg.OperationalError):
                    while True:
                        held.enter_context(contextlib.closing(connect(crowd, name="crowd")))
                _end_sessions(owner)
                trial.show(0.5, 1.0, "no connection is left")
        trial.expect(bool(service.process.logged("shipping_failed")), "a shipment found no connection")


def _end_sessions(owner: psycopg.Connection[object]) -> None:
    """Of the product; whoever is quicker takes their places."""
    owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (ROLE,))


def full(trial: Trial) -> None:
    """The volume of its data and its write-ahead log holds not one byte more."""
    with (
        Volume(trial.folder / "volume", VOLUME_BYTES) as volume,
        _served(trial, postgres_home=volume.path / "postgres") as (stand, service),
        _unnoticed(trial, service),
    ):
        volume.fill()
        trial.wait(trial.length(**HALF_A_MINUTE), "Postgres' disk is full")
        volume.empty()
        if not stand.postgres_answers():
            trial.note("Postgres had stopped itself")
            stand.restart_postgres()


def deadlocked(trial: Trial) -> None:
    """An operator's session and the shipper's wait for each other, again and again."""
    with _served(trial) as (stand, service), _unnoticed(trial, service), stand.owner() as connection:
        before = log_store.count_deadlocks(connection)
        for _ in trial.rounds(full=20, quick=4, doing="deadlocking"):
            _deadlock(stand)
        found = log_store.count_deadlocks(connection) - before
        trial.expect(found > 0, "Postgres found a deadlock")
        trial.note(f"{found} deadlocks")


def _deadlock(stand: Stand) -> None:
    """Hold what a shipment needs last, then ask for what it took first."""
    blocked = "SELECT 1 FROM pg_stat_activity WHERE usename = %s AND %s = ANY (pg_blocking_pids(pid))"
    with stand.owner() as connection, stand.owner() as watching:
        session = (ROLE, connection.info.backend_pid)
        connection.execute("BEGIN")
        connection.execute("UPDATE sira_prediction_hours SET predictions = predictions")
        wait_until(lambda: bool(watching.execute(blocked, session).fetchone()), 10.0, "a shipment waits")
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtext('sira_evidence'), hashtext(rollout_id::text))"
                " FROM sira_canary_config"
            )


def rotated(trial: Trial) -> None:
    """The password is changed and every session ended; a restart with the new one is the remedy."""
    with trial.stand() as stand:
        stand.control()
        service = stand.serve()
        stand.start_canary(service, "2", CANARY_PERCENT)
        with trial.load(stand, service.port):
            with _unnoticed(trial, service), stand.owner() as owner:
                set_password(owner, "another")
                _end_sessions(owner)
                trial.wait(trial.length(**HALF_A_MINUTE), "the password is wrong")
            stand.know_password("another")
            code, _ = service.process.terminate(30.0)
            trial.expect(code == 0, f"the old process ends with 0, not {code}")
            service = stand.serve(port=service.port)
            _await_drained(trial, service)
        trial.settle(stand)


def limited(trial: Trial) -> None:
    """Away for so long that the spool reaches its limit."""
    with _served(trial, {"SPOOL_MAX_BYTES": str(SPOOL_LIMIT_BYTES)}) as (stand, service):
        stand.database.behave(Behaviour(refuse=True))
        wait_until(service.none_ready, 60.0, "the spools are full, and no worker is ready")
        trial.wait(trial.length(**HALF_A_MINUTE), "the spool is full")
        trial.expect(set(trial.ledger.refused) == {503}, f"it answers 503, not {dict(trial.ledger.refused)}")
        trial.expect(service.none_ready(), "no worker is ready")
        stand.database.behave(Behaviour())
        seconds = wait_until(service.all_ready, 90.0, "every worker is ready again")
        before = trial.answered()
        trial.wait(2.0, "load")
        trial.expect(trial.answered() > before, "it answers again")
        trial.note(f"answers again {seconds:.1f} s after Postgres does")


SCENARIOS = (
    Scenario("database-cut", "Postgres cut off", cut),
    Scenario("database-hung", "Postgres takes connections and never answers", hung),
    Scenario("database-restarted", "Postgres crashed and restarted", restarted),
    Scenario("database-failed-over", "Postgres failed over to a standby", failed_over),
    Scenario("database-crowded", "Postgres out of connections", crowded),
    Scenario("database-full", "Postgres' disk full", full),
    Scenario("database-deadlocked", "Postgres ends shipments as deadlocks", deadlocked),
    Scenario("database-password", "Postgres' password rotated", rotated),
    Scenario("spool-limit", "Postgres away until the spool reaches its limit", limited),
)
