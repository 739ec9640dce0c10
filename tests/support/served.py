"""The whole product in processes of its own, started as `make run` starts it, on free ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.demo import dev_env
from lab.postgres import tether

ROOT = Path(__file__).resolve().parents[2]
# What a test may have set for itself, or a developer's shell has sourced: none of it is meant for this process.
_OURS = {
    *("DATABASE_URL", "MODEL_BUCKET", "MODEL_DIR", "SPOOL_DIR", "JWT_SECRET", "INTERNAL_SERVICE_TOKEN"),
    *("INTERNAL_SERVICE_TOKEN_PREVIOUS", "PORT", "CONTROL_PORT", "SIRA_HOME", "WORKERS", "BENTOML_CONFIG_OPTIONS"),
    *("ALERTMANAGER_URL", "PROMETHEUS_URL"),
}


@dataclass(frozen=True)
class Served:
    """`environment` is dev.env's: secrets, tokens, DATABASE_URL. `said` is what it printed, to its last line."""

    home: Path
    port: int
    control_port: int
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.control_port}"

    @property
    def environment(self) -> dict[str, str]:
        return dev_env.read(self.home / "dev.env")

    def bearer(self, name: str = "INTERNAL_SERVICE_TOKEN") -> dict[str, str]:
        """The Authorization header with a token of dev.env."""
        return {"Authorization": f"Bearer {self.environment[name]}"}

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """As Ctrl-C does; gives the exit code."""
        self.process.send_signal(how)
        code = self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()
        return code


def serve(home: Path, *, port: int | None = None, control_port: int | None = None, **settings: str) -> Served:
    """Start it and wait for `ready`; raises AssertionError with what it said when it ends before."""
    ports = port or free_port(), control_port or free_port()
    process = start(home, *ports, settings)
    served = Served(home, *ports, process)
    assert process.stdout is not None
    for line in process.stdout:
        served.said.append(line)
        if "ready\n" in served.said and line.startswith("Ctrl-C"):
            return served
    raise AssertionError(f"it ended with {process.wait()}:\n{''.join(served.said)}")


def start(home: Path, port: int, control_port: int, settings: Mapping[str, str]) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    environment |= {"SIRA_HOME": str(home), "PORT": str(port), "CONTROL_PORT": str(control_port), **settings}
    return subprocess.Popen(
        [*tether("INT"), sys.executable, "-m", "lab.demo.run"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_of(home: Path) -> list[int]:
    """Ids of processes whose command line or environment names `home`."""
    found, name = [], os.fsencode(home)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            described = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if name in described and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def gone_within(home: Path, seconds: float) -> bool:
    """Return whether every process of `home` ends in time."""
    deadline = time.monotonic() + seconds
    while processes_of(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
