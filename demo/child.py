"""A child process in a group of its own, tethered to us, its output in a log file."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from runtime.local import tether

ROOT = Path(__file__).resolve().parent.parent


class Child:
    """Start it from the main thread: the kernel stops it when the thread that started it ends."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        with log.open("wb") as log_file:
            self._process = subprocess.Popen(
                [*tether(), *command],
                env=dict(environment),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, who stop the children in order.
            )

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self, seconds: float) -> None:
        """Ask it to end, with its group; after `seconds`, end what is left of it. Safe to repeat."""
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The last line it logged."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it logged nothing"
