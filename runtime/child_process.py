"""A `python -m` command in a process of its own, so that the threads of this one do not wait for its GIL."""

import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# Where `python -m` finds our packages.
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class EndedChild:
    """How a child ended. `code` is negative if a signal ended it; `last_error` is its last line on stderr, or empty."""

    code: int
    output: bytes
    last_error: str


class ChildProcess:
    """Runs one command, at most once at a time, with this process's environment. Threads may share it."""

    def __init__(self, *words: str) -> None:
        """`words`: a module and its arguments, as after `python -m`."""
        self._words = (sys.executable, "-m", *words)
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._stopped = False

    def start(self) -> bool:
        """Start it; return False instead if it was stopped, or if `ended` has not returned how the last one ended."""
        with self._lock:
            if self._stopped or self._child is not None:
                return False
            self._child = _Child(self._words)
            return True

    def is_running(self) -> bool:
        with self._lock:
            return self._child is not None and self._child.process.poll() is None

    def ended(self) -> EndedChild | None:
        """Wait for the child; return how it ended, once, and None if none was started or it was stopped."""
        child = self._child
        if child is None:
            return None
        ended = child.wait()
        with self._lock:
            self._child = None
            return None if self._stopped else ended

    def stop(self) -> None:
        """End a child that runs, and start no other one."""
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.process.terminate()


class _Child:
    """A started process. Its output goes to files without names, so that it never waits for a reader."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (wait closes)
        self.process = subprocess.Popen(words, cwd=ROOT, env=os.environ, stdout=self._output, stderr=self._errors)

    def wait(self) -> EndedChild:
        code = self.process.wait()
        errors = _read(self._errors).decode(errors="replace").strip().splitlines()
        return EndedChild(code, _read(self._output), errors[-1] if errors else "")


def _read(file: IO[bytes]) -> bytes:
    with file:
        file.seek(0)
        return file.read()
