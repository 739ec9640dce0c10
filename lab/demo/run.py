"""`make run`: Postgres, migrations, demo models, tokens, service and controller, from nothing, until Ctrl-C."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from console.pages import path_to
from console.sign_in import links
from console.sign_in.links import SignInLink
from lab.demo import dev_env
from lab.demo.seed import seed
from lab.errors import LabError, ProcessFailed
from lab.ports import is_free
from lab.postgres import LocalPostgres
from lab.postgres_binaries import LocalPostgresError
from lab.process import Process, wait_ready
from lab.product import READY_SECONDS, Product, workers_setting
from migrations import runner
from registry import RegistryError
from runtime.auth import Role
from runtime.postgres import connect
from runtime.settings import Settings, SettingsInvalid

STOP_SECONDS = 20.0
POLL_SECONDS = 0.5
MAX_PORT = 65_535
MAX_WORKERS = 64
MAX_DEFAULT_WORKERS = 4
DEFAULT_PORT, DEFAULT_CONTROL_PORT = 8080, 3000


class RunError(LabError):
    """A reason why `make run` cannot serve, in one line that says what to do."""


@dataclass(frozen=True)
class RunOptions:
    """The folder, ports and number of workers of a run."""

    home: Path
    port: int
    control_port: int
    workers: int

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "RunOptions":
        """Read SIRA_HOME, PORT, CONTROL_PORT and WORKERS. Raises RunError naming every wrong one."""
        numbers, faults = {}, []
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for name, default, most in (
            ("PORT", DEFAULT_PORT, MAX_PORT),
            ("CONTROL_PORT", DEFAULT_CONTROL_PORT, MAX_PORT),
            ("WORKERS", min(cores, MAX_DEFAULT_WORKERS), MAX_WORKERS),
        ):
            text = environment.get(name, str(default))
            numbers[name] = int(text) if text.isdecimal() else 0
            if not 1 <= numbers[name] <= most:
                faults.append(f"{name} must be a number from 1 to {most}")
        if faults:
            raise RunError("; ".join(faults))
        home = Path(environment.get("SIRA_HOME", ".sira")).resolve()
        return cls(home, numbers["PORT"], numbers["CONTROL_PORT"], numbers["WORKERS"])

    def check_ports(self) -> None:
        """Raise RunError naming every port that is taken."""
        taken = [
            f"port {port} is taken (free it, or {name}={port + 1} make run)"
            for name, port in (("PORT", self.port), ("CONTROL_PORT", self.control_port))
            if not is_free(port)
        ]
        if self.port == self.control_port:
            taken.append(f"PORT and CONTROL_PORT are both {self.port}: they must differ")
        if taken:
            raise RunError("; ".join(taken))


def run(options: RunOptions) -> None:
    """Serve until a signal; raise what went wrong. Everything it started is stopped when it returns."""
    options.check_ports()
    for folder in ("artifacts", "models", "spool", "logs", "bentoml"):
        (options.home / folder).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as running:
        database_url = _given_database(options) or _start_postgres(options, running)
        environment = _environment(options, database_url)
        _migrate(database_url)
        with connect(database_url, name="demo", autocommit=True) as connection:
            seed(connection, environment["MODEL_BUCKET"])
        product = running.enter_context(Product(options.home / "logs", environment, STOP_SECONDS))
        for name in ("controller", "service"):
            _rotate_log(product.folder / f"{name}.log")
        controller = product.start_controller(port=options.control_port)
        service = product.start_service(port=options.port, workers=options.workers)
        processes = [controller.process, service.process]
        wait_ready(f"{controller.url}/healthz", processes, READY_SECONDS)
        wait_ready(f"{service.url}/readyz", processes, READY_SECONDS)
        _print_greeting(options, _sign_in_links(options, database_url))
        _watch(processes)


def _watch(processes: Sequence[Process]) -> None:
    """Wait until a process ends; raises ProcessFailed then."""
    while True:
        for process in processes:
            if process.has_ended():
                raise ProcessFailed(process.name, f"ended: {process.last_line()}", process.log)
        time.sleep(POLL_SECONDS)


def _given_database(options: RunOptions) -> str | None:
    """Return the caller's DATABASE_URL, unless it is the embedded one's, from a shell that has sourced dev.env."""
    given, password = os.environ.get("DATABASE_URL"), options.home / "postgres" / "password"
    if given and password.exists() and password.read_text() in given:
        return None
    return given


def _start_postgres(options: RunOptions, running: contextlib.ExitStack) -> str:
    postgres = running.enter_context(LocalPostgres.start(options.home / "postgres"))
    print(f"  Postgres on 127.0.0.1:{postgres.port}, its data in {_short(options.home)}/postgres", flush=True)
    return postgres.create_database("sira")


def _environment(options: RunOptions, database_url: str) -> dict[str, str]:
    """Write dev.env; return the environment of both processes: ours and its variables. Ours win where both are set."""
    path = options.home / "dev.env"
    known = dev_env.read(path) | {name: os.environ[name] for name in dev_env.SECRETS if name in os.environ}
    values = {
        "DATABASE_URL": database_url,
        "MODEL_BUCKET": os.environ.get("MODEL_BUCKET") or (options.home / "artifacts").as_uri(),
        "MODEL_DIR": os.environ.get("MODEL_DIR") or str(options.home / "models"),
        "SPOOL_DIR": os.environ.get("SPOOL_DIR") or str(options.home / "spool"),
        "PORT": str(options.port),
        "CONTROL_PORT": str(options.control_port),
        **dev_env.secrets_and_tokens(known, datetime.now(UTC)),
        "BENTOML_HOME": str(options.home / "bentoml"),
        **workers_setting(options.workers),
        # Without an Alertmanager, a rollout that holds for alerts would hold forever.
        "CANARY_CRITICAL_ALERTS": os.environ.get("CANARY_CRITICAL_ALERTS", "ignore"),
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    dev_env.write(path, values)
    os.environ.update(values)
    if Settings.load().ignores_alerts:
        print("  no Alertmanager is set (ALERTMANAGER_URL): rollouts start with critical_alerts: ignore", flush=True)
    return dict(os.environ)


def _migrate(database_url: str) -> None:
    with connect(database_url, name="migrations", autocommit=True, statement_timeout_ms=0) as connection:
        runner.up(connection, on_apply=lambda version: print(f"  applying migration {version}", flush=True))


def _rotate_log(log: Path) -> None:
    """Keep the log of the last run under another name."""
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))


def _sign_in_links(options: RunOptions, database_url: str) -> str:
    """Return a line for each role with a link that opens the console once."""
    with connect(database_url, name="demo") as connection:
        codes = {role: links.issue(connection, SignInLink(f"dev-{role.name}", role)) for role in reversed(Role)}
    path = f"http://localhost:{options.control_port}{path_to('sign-in')}"
    return "\n".join(f"  {role.name:<8} {path}/{code}" for role, code in codes.items())


def _print_greeting(options: RunOptions, sign_in_links: str) -> None:
    env = _short(options.home / "dev.env")
    print(
        f"""ready

Scoring on http://localhost:{options.port}, console on http://localhost:{options.control_port}. Each link signs in once:

{sign_in_links}

In another terminal:

set -a; . {env}; set +a

curl -X POST http://localhost:{options.port}/v1/infer \\
  -H "Authorization: Bearer $INTERNAL_SERVICE_TOKEN" \\
  -d '{{"event_id": "first", "product": "fraud_score", "payload":
       {{"amount": 100, "currency": "USD", "country": "US", "payment_method": "card"}}}}'

curl -H "Authorization: Bearer $VIEWER_TOKEN" http://localhost:{options.port}/v1/models

Ctrl-C stops everything; data, tokens and logs stay in {_short(options.home)}.""",
        flush=True,
    )


def _short(path: Path) -> str:
    """Return the path as the reader would type it: relative to the current folder if it is below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _stop(signum: int, frame: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # A second Ctrl-C must not cut the shutdown short.
        signal.signal(number, signal.SIG_IGN)
    print("stopping", flush=True)
    raise KeyboardInterrupt


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        run(RunOptions.read(os.environ))
    except KeyboardInterrupt:
        print("stopped", flush=True)
    except ProcessFailed as failed:
        sys.exit(f"make run: the {failed.name} {failed.fact} (log: {_short(failed.log)})")
    except (
        LabError,
        LocalPostgresError,
        SettingsInvalid,
        runner.MigrationError,
        RegistryError,
        psycopg.Error,
    ) as error:
        sys.exit(f"make run: {str(error).strip().splitlines()[0]}")


if __name__ == "__main__":
    main()
