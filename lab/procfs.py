"""What Linux reports about processes, threads and cores. Source: proc(5)."""

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def process_ids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parents() -> dict[int, int]:
    """Process id -> parent's process id, of every process that is not a zombie."""
    stats = {pid: _stat(pid) for pid in process_ids()}
    return {pid: int(fields[1]) for pid, fields in stats.items() if fields and fields[0] != "Z"}


def start_time(pid: int) -> int:
    """Clock ticks from boot to the start of the process; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def cpu_seconds(pid: int) -> float:
    """User and kernel time of all threads, with a resolution of 10 ms; 0 if the process is gone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND if fields else 0.0


def descendants_seconds(pid: int) -> float:
    """User and kernel time of all processes below one, those that have ended and been waited for included."""
    above = parents()
    below: set[int] = set()
    level = {pid}
    while level := {child for child, parent in above.items() if parent in level}:
        below |= level
    return sum(_seconds_with_ended(child) for child in below)


def family_seconds(pid: int) -> float:
    """User and kernel time of a process and of all below it."""
    return _seconds_with_ended(pid) + descendants_seconds(pid)


def thread_seconds(thread: int) -> tuple[float, float]:
    """User and kernel time of one thread, by its native id."""
    user, kernel = _stat(f"{thread}/task/{thread}")[11:13]  # /proc/<thread>/stat would sum the whole process
    return int(user) / TICKS_PER_SECOND, int(kernel) / TICKS_PER_SECOND


def core_busy_seconds(core: int) -> float:
    """Seconds since boot in which the core was not idle, time stolen by the hypervisor included."""
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def resident_mib(pid: int) -> float:
    """Resident memory now (VmRSS); 0 if the process is gone."""
    return _status_kib(pid, "VmRSS") / 1024


def peak_mib(pid: int) -> float:
    """Largest resident memory so far (VmHWM); 0 if the process is gone."""
    return _status_kib(pid, "VmHWM") / 1024


def open_descriptors(pid: int) -> int:
    """Number of open file descriptors; 0 if the process is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def command_line(pid: int) -> list[str]:
    """Words of the command; empty if the process is gone."""
    words = _read(pid, "cmdline").split(b"\0")
    return [word.decode(errors="replace") for word in words[:-1]]


def environment_contains(pid: int, text: bytes) -> bool:
    """Return whether the environment that the process was started with contains `text`."""
    return text in _read(pid, "environ")


def mentions(pid: int, text: bytes) -> bool:
    """Return whether the command line or the environment of the process contains `text`."""
    return text in _read(pid, "cmdline") or environment_contains(pid, text)


def lock_holders(path: Path) -> set[int]:
    """Ids of the processes that hold a flock(2) lock on the file."""
    inode = path.stat().st_ino
    # Collected in a set: an entry can appear twice if the list changes while it is read.
    lines = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return {int(line[4]) for line in lines if line[1] == "FLOCK" and line[5].endswith(f":{inode}")}


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _seconds_with_ended(pid: int) -> float:
    """Return the time of a process and of its children that have ended and been waited for."""
    return sum(int(ticks) for ticks in _stat(pid)[11:15]) / TICKS_PER_SECOND


def _stat(task: int | str) -> list[str]:
    """Fields of /proc/<task>/stat from the third (state) on; empty if the task is gone."""
    try:
        text = Path(f"/proc/{task}/stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()  # the name in parentheses may itself contain spaces


def _status_kib(pid: int, field: str) -> int:
    lines = _read(pid, "status").decode().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
