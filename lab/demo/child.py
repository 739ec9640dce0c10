"""A child process in a group of its own, tethered to us, its output in a log file."""

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lab.postgres import tether

_MARK = "SIRA_CHILD"
ROOT = Path(__file__).resolve().parents[2]


class Child:
    """Start it from the main thread: the kernel stops it when the thread that started it ends."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._mark = secrets.token_hex(8)
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        with log.open("wb") as log_file:
            self._process = subprocess.Popen(
                [*tether(), *command],
                env={**environment, _MARK: self._mark},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, who stop the children in order.
            )

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self, seconds: float) -> None:
        """Ask it to end; after `seconds`, end what is left of it and of its children. Safe to repeat."""
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._process.kill()
        for left in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The last line it logged."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it logged nothing"

    def _family(self) -> list[int]:
        """Ids of it and of all it started: BentoML's workers lead sessions of their own and outlive a killed parent."""
        mark, found = f"{_MARK}={self._mark}".encode(), []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environment.read_bytes().split(b"\0"):
                    found.append(int(environment.parent.name))
        return found
