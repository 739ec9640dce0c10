"""Postgres cut off, hanging, restarted, failed over, out of connections, full, deadlocked, with another password."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from lab.faults import log_store
from lab.faults.deployment import DATABASE, Deployment, set_password
from lab.faults.postgres_server import crash, deadlock_once, end_sessions, start_standby
from lab.faults.proxy import Behaviour
from lab.faults.scenario import Scenario, ScenarioRun
from lab.faults.volume import Volume
from lab.http import ask
from lab.product import NO_SETTINGS, Service, Settings
from lab.waiting import wait_until
from runtime.postgres import connect

CANARY_PERCENT = 20.0
HALF_A_MINUTE = {"full": 30.0, "quick": 8.0}
VOLUME_BYTES = 320 << 20
SPOOL_LIMIT_BYTES = 1 << 20
CONCURRENT_REQUESTS = 100
MAX_PROBE_SECONDS = 1.0


@contextlib.contextmanager
def _serving(
    run: ScenarioRun, settings: Settings = NO_SETTINGS, postgres_home: Path | None = None
) -> Iterator[tuple[Deployment, Service]]:
    """Two workers with a canary under load; at the end, wait until the log is complete and reconcile."""
    with run.deployment(postgres_home=postgres_home) as deployment:
        deployment.start_controller()
        service = deployment.start_service(settings=settings)
        deployment.start_canary(service, "2", CANARY_PERCENT)
        with run.load(deployment, service.port):
            run.wait(2.0, "load")
            yield deployment, service
            _await_drained(run, service)
        run.settle(deployment)


def _await_drained(run: ScenarioRun, service: Service) -> None:
    seconds = wait_until(
        lambda: service.metric("sira_log_oldest_unshipped_seconds") < 3.0, 120.0, "the spool is shipped"
    )
    run.note(f"shipped {seconds:.0f} s later")


@contextlib.contextmanager
def _unnoticed(run: ScenarioRun, service: Service) -> Iterator[None]:
    """Expect that callers get their answers during the block and that the service stays ready."""
    before, started = run.answered(), time.monotonic()
    yield
    run.expect_answers_continued(before, time.monotonic() - started)
    run.expect_ready(service)
    run.expect_no_refusal()
    run.note(f"{service.metric('sira_log_spool_rows'):,.0f} rows waited")


def cut_off(run: ScenarioRun) -> None:
    with _serving(run) as (deployment, service), _unnoticed(run, service):
        deployment.database.behave(Behaviour(refuse=True))
        run.wait(run.length(full=600, quick=20), "Postgres is cut off")
        deployment.database.behave(Behaviour())


def hang(run: ScenarioRun) -> None:
    """It accepts connections and requests, and never answers."""
    with _serving(run) as (deployment, service), _unnoticed(run, service):
        deployment.database.behave(Behaviour(hang=True))
        run.wait(run.length(full=120, quick=20), "Postgres hangs")
        run.expect(service.metric("sira_log_spool_rows") > 0, "the metrics report how many rows wait")
        _exhaust_control_threads(run, deployment, service)
        deployment.database.behave(Behaviour())


def _exhaust_control_threads(run: ScenarioRun, deployment: Deployment, service: Service) -> None:
    """Send more requests that need Postgres than a worker has threads: probes must not queue behind them."""
    url = f"{service.url}/v1/models"
    with ThreadPoolExecutor(CONCURRENT_REQUESTS) as pool:
        requests = [pool.submit(ask, url, deployment.ml_ops_token) for _ in range(CONCURRENT_REQUESTS)]
        time.sleep(1.0)
        started = time.monotonic()
        run.expect_ready(service)
        seconds = time.monotonic() - started
        run.expect(seconds < MAX_PROBE_SECONDS, f"the readiness probe is answered at once: {seconds:.1f} s")
        statuses = {request.result().status for request in requests}
    run.expect(statuses == {503}, f"requests that need Postgres are answered with 503: {sorted(statuses)}")


def restart(run: ScenarioRun) -> None:
    """Alternate between a restart without a checkpoint, as after a crash, and an orderly one."""
    with _serving(run) as (deployment, service), _unnoticed(run, service):
        for number in run.rounds(full=10, quick=2, action="restarting Postgres"):
            if number % 2:
                deployment.postgres.stop()
            else:
                crash(deployment.postgres)
            time.sleep(1.0)
            deployment.restart_postgres()
            time.sleep(1.0)


def fail_over(run: ScenarioRun) -> None:
    """A synchronous standby is promoted after the primary died: a new server with no session state."""
    with _serving(run) as (deployment, service), _unnoticed(run, service):
        standby = start_standby(run.folder / "standby", deployment)
        run.wait(run.length(full=10, quick=3), "replicating")
        crash(deployment.postgres)
        run.wait(3.0, "the primary is dead")
        with connect(standby.url(DATABASE), name="faults", autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
        deployment.postgres = standby
        deployment.database.point_at(standby.port)


def exhaust_connections(run: ScenarioRun) -> None:
    """Other clients hold every connection that Postgres allows."""
    with _serving(run) as (deployment, service), _unnoticed(run, service), contextlib.ExitStack() as held:
        with deployment.owner() as owner:
            owner.execute("CREATE ROLE crowd LOGIN PASSWORD 'crowd'")
            url = f"postgresql://crowd:crowd@127.0.0.1:{deployment.postgres.port}/{DATABASE}"
            ending = time.monotonic() + run.length(**HALF_A_MINUTE)
            while time.monotonic() < ending:
                with contextlib.suppress(psycopg.OperationalError):
                    while True:
                        held.enter_context(contextlib.closing(connect(url, name="crowd")))
                end_sessions(owner)
                run.show(0.5, 1.0, "no connection is left")
        run.expect(bool(service.process.logged("shipping_failed")), "a shipment finds no connection")


def fill_disk(run: ScenarioRun) -> None:
    """The volume with Postgres' data and write-ahead log is full to the last byte."""
    with (
        Volume(run.folder / "volume", VOLUME_BYTES) as volume,
        _serving(run, postgres_home=volume.path / "postgres") as (deployment, service),
        _unnoticed(run, service),
    ):
        volume.fill()
        run.wait(run.length(**HALF_A_MINUTE), "Postgres' disk is full")
        volume.empty()
        if not deployment.postgres_answers():
            run.note("Postgres had stopped itself")
            deployment.restart_postgres()


def deadlock(run: ScenarioRun) -> None:
    """An operator's session and the shipper wait for each other, repeatedly."""
    with _serving(run) as (deployment, service), _unnoticed(run, service), deployment.owner() as connection:
        before = log_store.count_deadlocks(connection)
        for _ in run.rounds(full=20, quick=4, action="deadlocking"):
            deadlock_once(deployment)
        found = log_store.count_deadlocks(connection) - before
        run.expect(found > 0, "Postgres finds a deadlock")
        run.note(f"{found} deadlocks")


def rotate_password(run: ScenarioRun) -> None:
    """The password changes and every session is ended; restarting with the new password is the remedy."""
    with run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service()
        deployment.start_canary(service, "2", CANARY_PERCENT)
        with run.load(deployment, service.port):
            with _unnoticed(run, service), deployment.owner() as owner:
                set_password(owner, "another")
                end_sessions(owner)
                run.wait(run.length(**HALF_A_MINUTE), "the password is wrong")
            deployment.use_password("another")
            code, _ = service.process.terminate(30.0)
            run.expect(code == 0, f"the old process exits with 0, not {code}")
            service = deployment.start_service(port=service.port)
            _await_drained(run, service)
        run.settle(deployment)


def reach_spool_limit(run: ScenarioRun) -> None:
    """Postgres is away for so long that the spool reaches its limit."""
    with _serving(run, {"SPOOL_MAX_BYTES": str(SPOOL_LIMIT_BYTES)}) as (deployment, service):
        deployment.database.behave(Behaviour(refuse=True))
        wait_until(service.none_ready, 60.0, "the spools are full, and no worker is ready")
        run.wait(run.length(**HALF_A_MINUTE), "the spool is full")
        run.expect(set(run.ledger.refused) == {503}, f"refusals are 503, not {dict(run.ledger.refused)}")
        run.expect(service.none_ready(), "no worker is ready")
        deployment.database.behave(Behaviour())
        seconds = wait_until(service.all_ready, 90.0, "every worker is ready again")
        before = run.answered()
        run.wait(2.0, "load")
        run.expect(run.answered() > before, "it answers again")
        run.note(f"answers {seconds:.1f} s after Postgres does")


SCENARIOS = (
    Scenario("database-cut", "Postgres cut off", cut_off),
    Scenario("database-hung", "Postgres takes connections and never answers", hang),
    Scenario("database-restarted", "Postgres crashed and restarted", restart),
    Scenario("database-failed-over", "Postgres failed over to a standby", fail_over),
    Scenario("database-crowded", "Postgres out of connections", exhaust_connections),
    Scenario("database-full", "Postgres' disk full", fill_disk),
    Scenario("database-deadlocked", "Postgres ends shipments as deadlocks", deadlock),
    Scenario("database-password", "Postgres' password rotated", rotate_password),
    Scenario("spool-limit", "Postgres away until the spool reaches its limit", reach_spool_limit),
)
