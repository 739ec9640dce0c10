"""A server pinned to one core, and what its whole process tree costs."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SERVER_CORE, LOAD_CORE = 0, 1
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy of the environment


class ServerFailed(Exception):
    def __init__(self, name: str, fact: str, log: Path) -> None:
        tail = log.read_text(errors="replace")[-1500:] if log.exists() else ""
        super().__init__(f"{name}: {fact}; the end of its log:\n{tail}")


@dataclass(frozen=True)
class Memory:
    """Peaks (VmHWM) in MiB: summed over the processes, pages they share counted in each, and the largest one's."""

    total_mib: float
    largest_mib: float


class Server:
    """A command and all its descendants: they count, and they stop, as one. `cores` as taskset reads them: "0,1"."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        cores: str = str(SERVER_CORE),
    ) -> None:
        self.name, self.log = name, log
        with log.open("ab") as output:
            self._leader = subprocess.Popen(
                # pdeathsig: a killed benchmark leaves no server behind.
                ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", cores, *command],
                cwd=cwd,
                env=os.environ | dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._leader.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stop()

    def wait_ready(self, url: str, seconds: float = 60) -> None:
        """Returns at the first 2xx answer of `url`; raises ServerFailed when it exits or stays silent."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._leader.poll() is not None:
                raise ServerFailed(self.name, f"exited with {self._leader.returncode} before it was ready", self.log)
            try:
                with DIRECT.open(url, timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise ServerFailed(self.name, f"was not ready within {seconds:.0f} s", self.log)

    def pids(self) -> list[int]:
        """The leader and all that descends from it, those that opened a session of their own included."""
        parents = {pid: _parent_of(pid) for pid in _all_pids()}
        family = {self._leader.pid}
        while grown := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= grown
        return sorted(family & parents.keys())

    def cpu_seconds(self) -> float:
        """User and system time of every process alive now, resolution 10 ms."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / TICKS_PER_SECOND

    def peak_memory(self) -> Memory:
        peaks = [_status_kib(pid, "VmHWM") / 1024 for pid in self.pids()]
        return Memory(sum(peaks), max(peaks, default=0.0))

    def resident_mib(self) -> float:
        """What the largest process holds now (VmRSS): of several workers, one."""
        return max((_status_kib(pid, "VmRSS") / 1024 for pid in self.pids()), default=0.0)

    def quiesce(self, limit_seconds: float = 30) -> float:
        """Waits until the server rests (< 5 % of a core over 0.4 s); seconds it took, work it left behind included."""
        started = time.monotonic()
        before = self.cpu_seconds()
        while time.monotonic() - started < limit_seconds:
            time.sleep(0.4)
            now = self.cpu_seconds()
            if now - before < 0.02:
                return max(0.0, time.monotonic() - started - 0.4)
            before = now
        return time.monotonic() - started

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to whatever of it is left when the leader has exited or ten seconds are over."""
        family = self.pids()
        if self._leader.poll() is None:
            self._leader.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._leader.wait(10)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._leader.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def core_busy_seconds(core: int) -> float:
    """Time since boot that a core spent on anything at all, stolen time included. Source: proc(5), /proc/stat."""
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def thread_seconds(thread: int) -> tuple[float, float]:
    """User and kernel time of a thread, by its native id. Source: proc(5)."""
    user, kernel = _stat_fields(f"{thread}/task/{thread}")[11:13]  # without the task it is the whole process's
    return int(user) / TICKS_PER_SECOND, int(kernel) / TICKS_PER_SECOND


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat_fields(pid: int | str) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; empty once the process is gone. Source: proc(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()  # the name in parentheses may itself hold spaces


def _parent_of(pid: int) -> int:
    fields = _stat_fields(pid)
    return int(fields[1]) if fields else -1


def _cpu_ticks(pid: int) -> int:
    fields = _stat_fields(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def _status_kib(pid: int, name: str) -> int:
    """A line of /proc/PID/status in KiB; 0 once the process is gone. Source: proc(5)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:")), 0)
