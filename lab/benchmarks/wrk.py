"""Drives one endpoint with wrk: closed loop, keep-alive connections, one thread, a new event id each request."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadFailed(Exception):
    def __init__(self, output: str) -> None:
        super().__init__(
            f"wrk gave no figures; install it with `apt-get install wrk`. It said: {output.strip()[-500:]}"
        )


@dataclass(frozen=True)
class Target:
    """Where the requests go and what they carry: `head`, then an event id, then a line of `bodies`."""

    url: str
    head: str
    bodies: Path
    token: str = ""


@dataclass(frozen=True)
class Load:
    requests: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    bad_status: int
    connect: int
    read: int
    write: int
    timeout: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def errors(self) -> int:
        """Answers that were not 2xx or 3xx, and requests that got none."""
        return self.bad_status + self.connect + self.read + self.write + self.timeout


def new_tag() -> str:
    """What stands before the nine digits of a request's number in its event id: 10 characters, new for each run."""
    return secrets.token_hex(5)[:9] + "-"


def write_bodies(path: Path, tails: Iterable[str]) -> Path:
    path.write_text("".join(tail + "\n" for tail in tails))
    return path


def drive(target: Target, seconds: float, *, offset: int = 0, connections: int = CONNECTIONS) -> Load:
    """Blocks for `seconds` (whole ones, at least 1). The caller's CPU affinity is wrk's too.

    `offset` is how many bodies to pass over first: a run that starts where the last one ended meets no warm cache.
    """
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", "10s", "--script", str(SCRIPT), target.url]
    environment = os.environ | {
        "BENCH_BODIES": str(target.bodies),
        "BENCH_HEAD": target.head,
        "BENCH_TAG": new_tag(),
        "BENCH_OFFSET": str(offset),
        "BENCH_TOKEN": target.token,
    }
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds + 60)
    except FileNotFoundError:
        raise LoadFailed("wrk is not on the PATH") from None
    return parse(run.stdout, run.stderr)


def parse(output: str, complaint: str = "") -> Load:
    """The figures wrk.lua writes as wrk's last line."""
    lines = output.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise LoadFailed(complaint or output)
    return Load(**json.loads(lines[-1]))
