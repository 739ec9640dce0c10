"""What `make run` serves, found or started, and how an operator talks to it."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.demo import dev_env
from lab.postgres import tether

START_SECONDS = 180.0
STOP_SECONDS = 30.0
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StageError(Exception):
    """What keeps the demo from playing, in one line that says what to do."""


@dataclass(frozen=True)
class Stage:
    """A running service and controller. `environment`: the variables of dev.env."""

    environment: Mapping[str, str]

    @property
    def port(self) -> int:
        return int(self.environment["PORT"])

    def ready(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(
                self._ask("PORT", "GET", "/readyz")["ready"] and self._ask("CONTROL_PORT", "GET", "/readyz")["ready"]
            )
        return False

    def operate(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask the control API as an operator. Raises StageError with what it answered."""
        try:
            return self._ask("CONTROL_PORT", method, path, body)
        except urllib.error.HTTPError as error:
            raise StageError(f"{method} {path} answered {error.code}: {error.read().decode()[:300]}") from None
        except OSError as error:
            raise StageError(f"{method} {path}: {error}") from None

    def _ask(self, port: str, method: str, path: str, body: object = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.environment[port]}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.environment['ML_OPS_TOKEN']}"},
        )
        with _DIRECTLY.open(request, timeout=10) as response:
            return json.load(response)  # type: ignore[no-any-return]


@contextlib.contextmanager
def open_stage(home: Path, tell: Callable[[str], None]) -> Iterator[Stage]:
    """The stage of `make run` if it is up; else one started for the demo and stopped after it."""
    stage = _found(home)
    if stage and stage.ready():
        tell(f"Playing on what `make run` started, on port {stage.port}.")
        yield stage
        return
    tell(
        "Nothing runs yet: starting Postgres, the service and the controller (the first time also two models to train)."
    )
    with _started(home):
        stage = _found(home)
        if stage is None:
            raise StageError(f"{home / 'dev.env'} was not written")
        yield stage


def _found(home: Path) -> Stage | None:
    environment = dev_env.read(home / "dev.env")
    return Stage(environment) if environment else None


@contextlib.contextmanager
def _started(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    log = home / "demo.log"
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            [*tether(), sys.executable, "-m", "lab.demo.run"],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SIRA_HOME": str(home)},
            start_new_session=True,  # Ctrl-C is for us, who stop it in order
        )
    try:
        _wait_until_ready(process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        lines = log.read_text(errors="replace").splitlines()
        if "ready" in lines:
            return
        if process.poll() is not None:
            raise StageError(lines[-1] if lines else "make run ended without a word")
        time.sleep(0.2)
    raise StageError(f"make run was not ready after {START_SECONDS:.0f} s: see {log}")
