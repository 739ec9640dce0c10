"""`make run` as a process: found or started, and the routes that it serves."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.demo import dev_env
from lab.errors import ProcessFailed
from lab.http import Client, ask
from lab.ports import free_port
from lab.process import Process
from lab.waiting import wait_until

START_SECONDS = 180.0
STOP_SECONDS = 60.0
READY_LINE = "ready"
# Variables of a test, or of a shell that has sourced dev.env, that must not reach a run on other ports.
OWN_VARIABLES = frozenset(
    {
        *("DATABASE_URL", "MODEL_BUCKET", "MODEL_DIR", "SPOOL_DIR", "JWT_SECRET", "INTERNAL_SERVICE_TOKEN"),
        *("INTERNAL_SERVICE_TOKEN_PREVIOUS", "PORT", "CONTROL_PORT", "SIRA_HOME", "WORKERS"),
        *("BENTOML_CONFIG_OPTIONS", "ALERTMANAGER_URL", "PROMETHEUS_URL", "CANARY_CRITICAL_ALERTS"),
    }
)


@dataclass(frozen=True)
class MakeRun:
    """A service and a controller whose data is in `home`. `environment`: the variables of dev.env."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return dev_env.read(self.home / "dev.env")

    @property
    def port(self) -> int:
        return int(self.environment["PORT"])

    @property
    def control_port(self) -> int:
        return int(self.environment["CONTROL_PORT"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.control_port}"

    def operator(self) -> Client:
        """Return a client of the control routes with the role ml_ops."""
        return Client(self.control_url, self.environment["ML_OPS_TOKEN"])

    def bearer(self, name: str = "INTERNAL_SERVICE_TOKEN") -> dict[str, str]:
        """Return the Authorization header with a token of dev.env."""
        return {"Authorization": f"Bearer {self.environment[name]}"}

    def is_ready(self) -> bool:
        """Return whether both processes answer /readyz with 200."""
        if not self.environment:
            return False
        with contextlib.suppress(OSError):
            return all(ask(f"{url}/readyz").status == 200 for url in (self.url, self.control_url))
        return False


@dataclass(frozen=True)
class StartedRun(MakeRun):
    """A run that this process started."""

    process: Process

    def printed(self) -> str:
        return self.process.output()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int | None:
        """Send a signal, as Ctrl-C does; return the exit code, or None if it still runs after STOP_SECONDS."""
        self.process.signal(number)
        return self.process.wait(STOP_SECONDS)


@contextlib.contextmanager
def open_run(home: Path, report: Callable[[str], None]) -> Iterator[MakeRun]:
    """Yield the run in `home` if it is ready; else start one and stop it at the end. Raises LabError."""
    found = MakeRun(home)
    if found.is_ready():
        report(f"Using what `make run` started, on port {found.port}.")
        yield found
        return
    report("Starting Postgres, the service and the controller. The first time, two models are trained as well.")
    started = start(home, {**os.environ, "SIRA_HOME": str(home)})
    try:
        await_ready(started)
        yield started
    finally:
        started.stop(signal.SIGTERM)
        started.process.kill()


def start_isolated(home: Path, settings: Mapping[str, str]) -> StartedRun:
    """Start a run on free ports that ignores the OWN_VARIABLES of our environment, unless `settings` set them."""
    inherited = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    ports = {"PORT": str(free_port()), "CONTROL_PORT": str(free_port())}
    return start(home, {**inherited, "SIRA_HOME": str(home), **ports, **settings})


def start(home: Path, environment: Mapping[str, str]) -> StartedRun:
    """Start `make run`; it is not ready yet. Its output goes to run.log in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    process = Process(
        [sys.executable, "-m", "lab.demo.run"],
        log=home / "run.log",
        name="make run",
        environment=environment,
        on_owner_exit="INT",
    )
    return StartedRun(home, process)


def await_ready(run: StartedRun) -> None:
    """Wait until it has printed everything that `make run` prints. Raises ProcessFailed and NotInTime."""

    def is_ready() -> bool:
        lines = run.printed().splitlines()
        if READY_LINE in lines and any(line.startswith("Ctrl-C") for line in lines):
            return True
        if run.process.has_ended():
            raise ProcessFailed("make run", f"ended: {run.process.last_line()}", run.process.log)
        return False

    wait_until(is_ready, START_SECONDS, "make run is ready")
