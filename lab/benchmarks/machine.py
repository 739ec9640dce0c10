"""The machine and the versions that figures were measured with."""

import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lab.benchmarks.others import CONTENDERS

REPORTED = ("bentoml", "fastapi", "mlserver", "onnxruntime", "uvicorn", "uvloop", "httptools")
OURS = ("bentoml", "httptools", "msgspec", "numpy", "onnxruntime", "psycopg", "uvicorn", "uvloop")


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    memory_gib: int
    kernel: str
    python: str
    wrk: str
    versions: dict[str, dict[str, str]]  # contender -> package -> version, from its lock; ours from what is installed

    def __str__(self) -> str:
        system = f"Linux {self.kernel}, Python {self.python}, {self.wrk}"
        return f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB, {system}"


def describe() -> Machine:
    locks = {path.parent.name: path.read_text() for path in sorted(CONTENDERS.glob("*/requirements.lock"))}
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 0,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        kernel=platform.release(),
        python=platform.python_version(),
        wrk=_first_words("wrk", "--version"),
        versions={name: locked(lock) for name, lock in locks.items()}
        | {"sira": {name: version(name) for name in OURS}},
    )


def conditions(command: str) -> dict[str, Any]:
    """Return what is stored beside figures: when, by which command and on what they were measured."""
    described = describe()
    when = datetime.now(UTC).date().isoformat()
    return {"date": when, "command": command, "machine": asdict(described), "on": str(described)}


def locked(lock: str) -> dict[str, str]:
    """Return the versions of the packages that determine speed, from the text of a lock."""
    pins = dict(re.findall(r"^([a-z0-9_.-]+)==([^ ;\\]+)", lock, re.MULTILINE))
    return {name: pins[name] for name in REPORTED if name in pins}


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_words(*command: str) -> str:
    """Return the first two words of its output; `wrk --version` prints its version and exits with 1."""
    run = subprocess.run(command, capture_output=True, text=True)
    return " ".join((run.stdout + run.stderr).split()[:2])
