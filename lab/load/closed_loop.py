"""Full load with wrk: keep-alive connections, each of which sends again as soon as it is answered."""

import json
import os
import subprocess
from pathlib import Path

from lab.errors import LoadFailed
from lab.load.generator import DEFAULT_CONNECTIONS, Generator, Summary, Target, new_tag

SCRIPT = Path(__file__).with_name("wrk.lua")
GRACE_SECONDS = 60.0
_KINDS = ("bad_status", "connect", "read", "write", "timeout")


class ClosedLoop(Generator):
    """One wrk thread; every request carries a new event id. wrk runs on the CPU cores of this process."""

    def __init__(
        self, target: Target, seconds: float, *, offset: int = 0, connections: int = DEFAULT_CONNECTIONS
    ) -> None:
        """`seconds` is rounded to whole ones, at least 1.

        `offset`: how many bodies to skip. A run that starts where the last one ended finds nothing in a cache.
        """
        self._target, self._seconds = target, max(1, round(seconds))
        self._offset, self._connections = offset, connections
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = ["wrk", "--threads", "1", "--connections", str(self._connections)]
        command += ["--duration", f"{self._seconds}s", "--timeout", "10s", "--script", str(SCRIPT), self._target.url]
        environment = os.environ | {
            "BENCH_BODIES": str(self._target.bodies),
            "BENCH_HEAD": self._target.head,
            "BENCH_TAG": new_tag(),
            "BENCH_OFFSET": str(self._offset),
            "BENCH_TOKEN": self._target.token,
        }
        try:
            self._process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        except FileNotFoundError:
            raise LoadFailed("wrk is not on the PATH; install it with `apt-get install wrk`") from None

    def finish(self) -> Summary:
        assert self._process is not None
        output, errors = self._process.communicate(timeout=self._seconds + GRACE_SECONDS)
        return parse(output, errors)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def parse(output: str, errors: str = "") -> Summary:
    """Read the figures that wrk.lua writes as the last line of wrk's output."""
    lines = output.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise LoadFailed(f"wrk printed no figures: {(errors or output).strip()[-500:]}")
    figures = json.loads(lines[-1])
    failures = {kind: figures.pop(kind) for kind in _KINDS}
    return Summary(**figures, failures={kind: count for kind, count in failures.items() if count})
