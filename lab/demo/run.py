"""`make run`: Postgres, migrations, demo models, tokens, service and controller, from nothing, until Ctrl-C."""

import contextlib
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from lab.demo import dev_env
from lab.demo.child import Child
from lab.demo.seed import seed
from lab.postgres import LocalPostgres, LocalPostgresError
from migrations import runner
from registry import RegistryError
from runtime.postgres import connect
from runtime.settings import Settings, SettingsInvalid

READY_SECONDS = 90.0
STOP_SECONDS = 20.0
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RunError(Exception):
    """What keeps `make run` from serving, in one line that says what to do."""


@dataclass(frozen=True)
class Place:
    """Where this run lives: its folder, its ports, its workers. Read from SIRA_HOME, PORT, CONTROL_PORT, WORKERS."""

    home: Path
    port: int
    control_port: int
    workers: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Place":
        numbers, faults = {}, []
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for name, default, most in (
            ("PORT", 8080, 65535),
            ("CONTROL_PORT", 3000, 65535),
            ("WORKERS", min(cores, 4), 64),
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
        """Raises RunError naming every port that is taken."""
        taken = [
            f"port {port} is taken (free it, or {name}={port + 1} make run)"
            for name, port in (("PORT", self.port), ("CONTROL_PORT", self.control_port))
            if not _is_free(port)
        ]
        if self.port == self.control_port:
            taken.append(f"PORT and CONTROL_PORT are both {self.port}: they must differ")
        if taken:
            raise RunError("; ".join(taken))


def run(place: Place) -> None:
    """Serve until a signal; raises what went wrong. Whatever it started is stopped when it returns."""
    place.check_ports()
    for folder in ("artifacts", "models", "spool", "logs", "bentoml"):
        (place.home / folder).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as running:
        database_url = _given_database(place) or _start_postgres(place, running)
        environment = _environment(place, database_url)
        _migrate(database_url)
        with connect(database_url, name="demo", autocommit=True) as connection:
            seed(connection, environment["MODEL_BUCKET"])
        controller = [sys.executable, "-m", "controller"]
        service = [sys.executable, "-m", "bentoml", "serve", "service:SiraInference"]
        service += ["--host", "127.0.0.1", "--port", str(place.port)]
        children = [
            _start("controller", controller, environment, place, running),
            _start("service", service, environment, place, running),
        ]
        _wait_until(f"http://127.0.0.1:{place.control_port}/healthz", children)
        _wait_until(f"http://127.0.0.1:{place.port}/readyz", children)
        _greet(place)
        while not (ended := _ended(children)):
            time.sleep(0.5)
        raise RunError(ended)


def _given_database(place: Place) -> str | None:
    """DATABASE_URL of the caller, unless it is the embedded one's, from a shell that has sourced dev.env."""
    given, password = os.environ.get("DATABASE_URL"), place.home / "postgres" / "password"
    if given and password.exists() and password.read_text() in given:
        return None
    return given


def _start_postgres(place: Place, running: contextlib.ExitStack) -> str:
    postgres = running.enter_context(LocalPostgres.start(place.home / "postgres"))
    print(f"  Postgres on 127.0.0.1:{postgres.port}, its data in {_short(place.home)}/postgres", flush=True)
    return postgres.create_database("sira")


def _environment(place: Place, database_url: str) -> dict[str, str]:
    """Write dev.env and give the children's environment: ours and all of it. What the caller has set wins."""
    path = place.home / "dev.env"
    known = dev_env.read(path) | {name: os.environ[name] for name in dev_env.SECRETS if name in os.environ}
    values = {
        "DATABASE_URL": database_url,
        "MODEL_BUCKET": os.environ.get("MODEL_BUCKET") or (place.home / "artifacts").as_uri(),
        "MODEL_DIR": os.environ.get("MODEL_DIR") or str(place.home / "models"),
        "SPOOL_DIR": os.environ.get("SPOOL_DIR") or str(place.home / "spool"),
        "PORT": str(place.port),
        "CONTROL_PORT": str(place.control_port),
        **dev_env.secrets_and_tokens(known, datetime.now(UTC)),
        "BENTOML_HOME": str(place.home / "bentoml"),
        # BentoML 1.4 takes the number of workers from its configuration alone; --api-workers is without effect.
        "BENTOML_CONFIG_OPTIONS": f"services.sira_inference.workers={place.workers}",
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    dev_env.write(path, values)
    os.environ.update(values)
    Settings.load()
    return dict(os.environ)


def _migrate(database_url: str) -> None:
    with connect(database_url, name="migrations", autocommit=True, statement_timeout_ms=0) as connection:
        runner.up(connection, on_apply=lambda version: print(f"  applying migration {version}", flush=True))


def _start(
    name: str, command: list[str], environment: Mapping[str, str], place: Place, running: contextlib.ExitStack
) -> Child:
    child = Child(name, command, environment, place.home / "logs" / f"{name}.log")
    running.callback(child.stop, STOP_SECONDS)
    return child


def _wait_until(url: str, children: list[Child]) -> None:
    """Until `url` answers 200; raises RunError when a child ends or it takes too long."""
    deadline, said = time.monotonic() + READY_SECONDS, "no answer"
    while time.monotonic() < deadline:
        if ended := _ended(children):
            raise RunError(ended)
        try:
            with _DIRECTLY.open(url, timeout=2):
                return
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
        except OSError:
            pass
        time.sleep(0.1)
    raise RunError(f"{url} is not ready after {READY_SECONDS:.0f} s: {said} (logs in {_short(children[0].log.parent)})")


def _ended(children: list[Child]) -> str | None:
    for child in children:
        if child.has_ended():
            return f"the {child.name} ended: {child.last_words()} (see {_short(child.log)})"
    return None


def _greet(place: Place) -> None:
    env = _short(place.home / "dev.env")
    print(
        f"""ready

Scoring on http://localhost:{place.port}, control on http://localhost:{place.control_port}. In another terminal:

set -a; . {env}; set +a

curl -X POST http://localhost:{place.port}/v1/infer \\
  -H "Authorization: Bearer $INTERNAL_SERVICE_TOKEN" \\
  -d '{{"event_id": "first", "product": "fraud_score", "payload":
       {{"amount": 100, "currency": "USD", "country": "US", "payment_method": "card"}}}}'

curl -H "Authorization: Bearer $VIEWER_TOKEN" http://localhost:{place.port}/v1/models

Ctrl-C stops everything; data, tokens and logs stay in {_short(place.home)}.""",
        flush=True,
    )


def _short(path: Path) -> str:
    """As the reader would type it: from here, when it is below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _stop(signum: int, frame: object) -> None:
    for how in (signal.SIGINT, signal.SIGTERM):  # A second Ctrl-C must not cut the stopping short.
        signal.signal(how, signal.SIG_IGN)
    print("stopping", flush=True)
    raise KeyboardInterrupt


def main() -> None:
    for how in (signal.SIGINT, signal.SIGTERM):
        signal.signal(how, _stop)
    try:
        run(Place.of(os.environ))
    except KeyboardInterrupt:
        print("stopped", flush=True)
    except (
        RunError,
        LocalPostgresError,
        SettingsInvalid,
        runner.MigrationError,
        RegistryError,
        psycopg.Error,
    ) as error:
        sys.exit(f"make run: {str(error).strip().splitlines()[0]}")


if __name__ == "__main__":
    main()
