"""The embedded Postgres: binaries of a wheel (or the system's), started by this process and stopped with it."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from lab import procfs
from lab.ports import free_port
from lab.postgres_binaries import LocalPostgresError, postgres_binaries
from lab.process import tether
from runtime.postgres import connect

OWNER = "sira"
INIT = 1  # the parent of a process whose own parent has ended
START_SECONDS = 60.0  # crash recovery of a big log takes a while
STOP_SECONDS = 20.0


class RootCannotDrop(LocalPostgresError):
    def __init__(self) -> None:
        super().__init__("Postgres refuses to run as root and `setpriv` (util-linux) is missing: run as another user")


class AlreadyRunning(LocalPostgresError):
    def __init__(self, home: Path, pid: str) -> None:
        super().__init__(f"Postgres of {home} is already running (pid {pid}): stop its owner first, or set SIRA_HOME")


class DidNotStart(LocalPostgresError):
    def __init__(self, log: Path, line: str) -> None:
        super().__init__(f"Postgres did not start: {line or 'no reason given'} (see {log})")


class LocalPostgres:
    """A running Postgres on 127.0.0.1 with scram-sha-256; its data, port and password are under `home`.

    Start it from the main thread: the kernel stops Postgres when the thread that started it ends.
    """

    def __init__(self, home: Path, port: int, password: str, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.port = port
        self._password = password
        self._process = process

    @classmethod
    def start(cls, home: Path, *, durable: bool = True, binaries: Path | None = None) -> Self:
        """Create the cluster if `home` has none, then start it. Raises LocalPostgresError.

        `durable=False` skips fsync: for tests, which may lose their data in a crash. `binaries` are of another version.
        """
        binaries, home = binaries or postgres_binaries(), home.resolve()
        home.mkdir(parents=True, exist_ok=True)
        child = _child_prefix(home, binaries)
        if not (home / "data").exists():
            _init_cluster(home, binaries, child)
        _wait_for_orphan(home / "data" / "postmaster.pid")
        password = (home / "password").read_text()
        port = _choose_port(home / "port")
        log = home / "postgres.log"
        with log.open("ab") as log_file:
            log_start = log_file.tell()
            process = subprocess.Popen(
                [*child, str(binaries / "postgres"), "-D", str(home / "data"), *_options(port, durable)],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                cwd="/",
                start_new_session=True,  # Ctrl-C reaches only the owner, which stops Postgres last.
            )
        postgres = cls(home, port, password, process)
        try:
            postgres._wait_until_ready(log, log_start)
        except BaseException:
            postgres.stop()
            raise
        (home / "port").write_text(str(port))
        return postgres

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self, database: str) -> str:
        """Return the connection string of the owner, who may migrate."""
        return f"postgresql://{OWNER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Return the URL of the database `name`, which is created from `template` unless it exists (about 70 ms)."""
        with connect(self.url("postgres"), name="local", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
                connection.execute(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop the database and end its sessions; do nothing if it does not exist."""
        with connect(self.url("postgres"), name="local", autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def stop(self) -> None:
        """Shut down in fast mode: sessions are ended, data is checkpointed. Safe to repeat."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue

    def kill(self) -> None:
        """Kill every process of the server at once, as a machine that loses power would; what was synced stays."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self, log: Path, log_start: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                connect(self.url("postgres"), name="local").close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    raise _why_it_ended(self.home, log, log_start) from None
                if time.monotonic() > deadline:
                    raise DidNotStart(log, f"not ready after {START_SECONDS:.0f} s") from None
                time.sleep(0.03)


def _child_prefix(*reached: Path) -> list[str]:
    """Tether a child to us and, under root, run it as `nobody`, because Postgres refuses root."""
    prefix = tether("INT")
    if os.geteuid() != 0:
        return prefix
    if not prefix:
        raise RootCannotDrop
    nobody = pwd.getpwnam("nobody")
    prefix += [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    if not all(folder.stat().st_mode & 0o001 for path in reached for folder in (path, *path.parents)):
        # Under /root, for example: one capability for one process is safer than looser modes on the caller's folders.
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    return prefix


def _init_cluster(home: Path, binaries: Path, child: list[str]) -> None:
    """Create `home`/data, completely or not at all, and a new password beside it."""
    unfinished, password = home / "data.unfinished", home / "password"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    password.unlink(missing_ok=True)
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (unfinished, password):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    words = [
        *("-D", str(unfinished), "--username", OWNER, "--pwfile", str(password)),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
    ]
    done = subprocess.run([*child, str(binaries / "initdb"), *words], capture_output=True, text=True, cwd="/")
    if done.returncode:
        (home / "postgres.log").write_text(done.stdout + done.stderr)
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        raise DidNotStart(home / "postgres.log", lines[0] if lines else f"initdb gave {done.returncode}")
    unfinished.rename(home / "data")


def _options(port: int, durable: bool) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "max_connections": "200",
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _choose_port(remembered: Path) -> int:
    """Return the port of the last start if it is still free, else any free one."""
    return free_port(int(remembered.read_text()) if remembered.exists() else 0)


def _wait_for_orphan(lock: Path) -> None:
    """Wait until the Postgres of an owner that was killed has shut down: the kernel signalled it when it died."""
    if not lock.exists():
        return
    pid = int(lock.read_text().partition("\n")[0])
    deadline = time.monotonic() + STOP_SECONDS
    while procfs.parents().get(pid) == INIT and lock.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def _why_it_ended(home: Path, log: Path, log_start: int) -> LocalPostgresError:
    with log.open("rb") as log_file:
        log_file.seek(log_start)
        lines = log_file.read().decode(errors="replace").splitlines()
    if any('lock file "postmaster.pid" already exists' in line for line in lines):
        return AlreadyRunning(home, (home / "data" / "postmaster.pid").read_text().partition("\n")[0])
    errors = [line for line in lines if "FATAL" in line or "error" in line.lower() or "setpriv" in line]
    return DidNotStart(log, errors[0] if errors else "")
