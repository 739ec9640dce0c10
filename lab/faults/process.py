"""A process of the product that a scenario may stop, kill and start again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lab.postgres import tether

ROOT = Path(__file__).parents[2]


class Process:
    """Start it from the main thread: the kernel stops it when the thread that started it ends."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*tether(), sys.executable, *command],
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Workers lead sessions of their own and outlive a killed parent: they are known by what they were started with.
        self._family: set[int] = {self.pid}

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> bool:
        return self._process.poll() is not None

    def family(self) -> list[int]:
        """Ids of it and its descendants that are alive, the oldest first."""
        parents = {pid: _parent(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))}
        while grown := {pid for pid, parent in parents.items() if parent in self._family} - self._family:
            self._family |= grown
        self._family &= parents.keys()
        return sorted(self._family, key=_started)

    def kill(self) -> None:
        """SIGKILL to all of it at once, as when a container is killed."""
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def terminate(self, seconds: float) -> tuple[int | None, float]:
        """SIGTERM: its exit code and the seconds it took; killed, and no code, when it takes longer than `seconds`."""
        family, started = self.family(), time.monotonic()
        self._process.terminate()
        try:
            return self._process.wait(seconds), time.monotonic() - started
        except subprocess.TimeoutExpired:
            return None, time.monotonic() - started
        finally:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def logged(self, event: str) -> list[str]:
        """Lines of its log that hold an event of this name."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if f'"event":"{event}"' in line]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def resident_mib(pid: int) -> float:
    """VmRSS; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def descriptors(pid: int) -> int:
    """Open file descriptors; 0 once it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on; none once it is gone. Source: proc(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields and fields[0] != "Z" else -1


def _started(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields else 0
