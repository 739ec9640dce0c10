"""A child process that ends with us, leads a session of its own, and writes its output to a log file."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import procfs
from lab.errors import ProcessFailed
from lab.http import ask

ROOT = Path(__file__).parents[1]
DEFAULT_STOP_SECONDS = 10.0
KILL_SECONDS = 5.0  # for killed processes to disappear
_MARK = "SIRA_LAB_PROCESS"


@dataclass(frozen=True)
class Memory:
    """Peak resident memory in MiB: summed over the processes (shared pages count in each), and of the largest one."""

    total_mib: float
    largest_mib: float


def tether(signal_name: str = "TERM") -> list[str]:
    """Return words to put before a command so that the kernel signals it when the thread that started it ends.

    Empty where `setpriv` is missing (not Linux): there the child survives an owner that is killed.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, f"--pdeathsig={signal_name}"] if setpriv else []


class Process:
    """A command and everything it starts, which are measured and ended together.

    Start it from the main thread: see tether().
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        name: str | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        cores: str | None = None,
        niceness: int = 0,
        on_owner_exit: str = "TERM",
    ) -> None:
        """Start it; output is appended to `log`.

        `environment` replaces ours if given. `cores` as taskset reads them: "0,1". `on_owner_exit`: the signal that
        the process gets when its owner ends.
        """
        self.name, self.log = name or log.stem, log
        variables = dict(os.environ if environment is None else environment)
        # Workers lead sessions of their own and outlive a killed parent, so descendants are found by this mark, which
        # they inherit. It is appended to an outer process's mark: the outer one finds them too.
        self._mark = secrets.token_hex(8)
        variables[_MARK] = f"{variables.get(_MARK, '')}/{self._mark}"
        prefix = tether(on_owner_exit)
        if cores is not None:
            prefix += ["taskset", "--cpu-list", cores]
        if niceness:
            prefix += ["nice", "-n", str(niceness)]
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._leader = subprocess.Popen(
                [*prefix, *command],
                cwd=cwd,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only us; we stop children in order
            )

    @property
    def pid(self) -> int:
        return self._leader.pid

    def has_ended(self) -> bool:
        return self._leader.poll() is not None

    def family(self) -> list[int]:
        """Return the ids of the live processes: this one and its descendants, oldest first."""
        parents = procfs.parents()
        mark = self._mark.encode()
        found = {pid for pid in parents if procfs.environment_contains(pid, mark)}
        if not self.has_ended():
            found.add(self.pid)
        while grown := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= grown
        return sorted(found & parents.keys(), key=procfs.start_time)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself."""
        self._leader.send_signal(number)

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, or None if the process still runs after `seconds`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._leader.wait(seconds)
        return None

    def terminate(self, seconds: float = DEFAULT_STOP_SECONDS) -> tuple[int | None, float]:
        """Send SIGTERM; return the exit code and the seconds it took. Safe to repeat.

        After `seconds` the code is None. Whatever is left of the process and its descendants is killed in either case.
        """
        started = time.monotonic()
        if not self.has_ended():
            self.signal(signal.SIGTERM)
        code, elapsed = self.wait(seconds), time.monotonic() - started
        self.kill()
        return code, elapsed

    def kill(self) -> None:
        """Kill the process and all its descendants, as when a container is killed; return when they are gone.

        Safe to repeat.
        """
        deadline = time.monotonic() + KILL_SECONDS
        while (family := self.family()) and time.monotonic() < deadline:  # again for what was forked meanwhile
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._leader.wait()
            time.sleep(0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()

    def wait_ready(self, url: str, seconds: float) -> float:
        """Return the seconds until `url` answered 2xx; see wait_ready()."""
        return wait_ready(url, [self], seconds)

    def output(self) -> str:
        """Return what the process has logged since it started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def last_line(self) -> str:
        """Return the last line it logged."""
        lines = self.output().strip().splitlines()
        return lines[-1] if lines else "it logged nothing"

    def logged(self, event: str) -> list[str]:
        """Return the log lines of the event with this name."""
        return [line for line in self.output().splitlines() if f'"event":"{event}"' in line]

    def cpu_seconds(self) -> float:
        """User and kernel time of every process alive now, with a resolution of 10 ms."""
        return sum(map(procfs.cpu_seconds, self.family()))

    def peak_memory(self) -> Memory:
        peaks = [procfs.peak_mib(pid) for pid in self.family()]
        return Memory(sum(peaks), max(peaks, default=0.0))

    def resident_mib(self) -> float:
        """Resident memory of the largest process: of one worker, where there are several."""
        return max(map(procfs.resident_mib, self.family()), default=0.0)

    def quiesce(self, limit_seconds: float = 30) -> float:
        """Wait until it uses less than 5 % of a core over 0.4 s; return the seconds until it went idle."""
        started = time.monotonic()
        before = self.cpu_seconds()
        while time.monotonic() - started < limit_seconds:
            time.sleep(0.4)
            now = self.cpu_seconds()
            if now - before < 0.02:
                return max(0.0, time.monotonic() - started - 0.4)
            before = now
        return time.monotonic() - started


def wait_ready(url: str, processes: Sequence[Process], seconds: float) -> float:
    """Return the seconds until `url` answered 2xx. Raises ProcessFailed if a process ends first, or none is ready."""
    started, last = time.monotonic(), "no answer"
    while time.monotonic() - started < seconds:
        for process in processes:
            if process.has_ended():
                raise ProcessFailed(process.name, f"ended before it was ready: {process.last_line()}", process.log)
        with contextlib.suppress(OSError):
            answer = ask(url, timeout_seconds=5.0)
            if 200 <= answer.status < 300:
                return time.monotonic() - started
            last = f"{answer.status} {answer.text[:200]}"
        time.sleep(0.1)
    raise ProcessFailed(processes[-1].name, f"was not ready within {seconds:.0f} s: {last}", processes[-1].log)
