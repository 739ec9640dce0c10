"""The whole product in processes of its own, started as `make run` starts it, on free ports."""

import os
import time
from pathlib import Path

from lab import procfs
from lab.demo.running import StartedRun, await_ready, start_isolated


def serve(home: Path, **settings: str) -> StartedRun:
    """Start it and wait until it is ready. Raises LabError with what it printed."""
    run = start_isolated(home, settings)
    await_ready(run)
    return run


def processes_of(home: Path) -> list[int]:
    """Return the ids of the processes whose command line or environment names `home`."""
    name = os.fsencode(home)
    return [pid for pid in procfs.process_ids() if pid != os.getpid() and procfs.mentions(pid, name)]


def gone_within(home: Path, seconds: float) -> bool:
    """Return whether every process of `home` ends in time."""
    deadline = time.monotonic() + seconds
    while processes_of(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
