"""What scenarios do to the Postgres server itself: crash it, follow it with a standby, end or block its sessions."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from lab.faults.deployment import ROLE, Deployment
from lab.postgres import LocalPostgres
from lab.postgres_binaries import postgres_binaries
from lab.waiting import wait_until


def crash(postgres: LocalPostgres) -> None:
    """Shut down immediately: the next start replays the write-ahead log."""
    pid = int((postgres.home / "data" / "postmaster.pid").read_text().partition("\n")[0])
    os.kill(pid, signal.SIGQUIT)
    postgres.stop()


def start_standby(home: Path, deployment: Deployment) -> LocalPostgres:
    """Start a streaming replica whose acknowledgement every commit of the primary waits for."""
    home.mkdir(mode=0o755)
    shutil.copy(deployment.postgres.home / "password", home / "password")
    primary = deployment.postgres.url("postgres")
    backup = ["pg_basebackup", "--pgdata", str(home / "data"), "--write-recovery-conf", "--checkpoint=fast"]
    program = str(postgres_binaries() / backup[0])
    subprocess.run([program, *backup[1:], "--dbname", primary], check=True, capture_output=True)
    owner = (deployment.postgres.home / "data").stat()
    for path in (home, *home.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    standby = LocalPostgres.start(home)
    deployment.on_close(standby.stop)
    with deployment.owner() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        wait_until(
            lambda: bool(connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone()),
            30.0,
            "the standby is synchronous",
        )
    return standby


def end_sessions(owner: psycopg.Connection[object]) -> None:
    """End the product's sessions; whoever connects first takes their places."""
    owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (ROLE,))


def deadlock_once(deployment: Deployment) -> None:
    """Hold the lock that a shipment takes last, then request the one that it took first."""
    blocked = "SELECT 1 FROM pg_stat_activity WHERE usename = %s AND %s = ANY (pg_blocking_pids(pid))"
    with deployment.owner() as connection, deployment.owner() as observer:
        session = (ROLE, connection.info.backend_pid)
        connection.execute("BEGIN")
        connection.execute("UPDATE sira_prediction_hours SET predictions = predictions")
        wait_until(lambda: bool(observer.execute(blocked, session).fetchone()), 10.0, "a shipment waits")
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtext('sira_evidence'), hashtext(rollout_id::text))"
                " FROM sira_canary_config"
            )
