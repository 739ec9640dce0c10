"""A serving process as its callers and its operators see it."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.faults.process import Process

READY_SECONDS = 90.0
ASK_SECONDS = 40.0
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StandFailed(Exception):
    """A part of the stand did not start, or did not come to where the scenario needs it."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any


def ask(url: str, token: str | None = None, body: object = None) -> Answer:
    """GET, or POST of JSON; a refusal is an answer too. Raises OSError when there is none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content = None if body is None else json.dumps(body).encode()
    try:
        with _DIRECTLY.open(urllib.request.Request(url, content, headers), timeout=ASK_SECONDS) as response:
            return Answer(response.status, dict(response.headers), _read(response.read()))
    except urllib.error.HTTPError as refused:
        return Answer(refused.code, dict(refused.headers), _read(refused.read()))


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode()


def wait_until(met: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds until `met`; raises StandFailed naming `what` never came."""
    started = time.monotonic()
    while not met():
        if time.monotonic() - started > seconds:
            raise StandFailed(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - started


@dataclass
class Service:
    """A serving process with its workers."""

    process: Process
    port: int
    spool: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[int]:
        """Process ids that serve: what BentoML's arbiter started."""
        return [pid for pid in self.process.family() if pid != self.process.pid and _serves(pid)]

    def taking(self) -> int:
        """Workers that take connections: each holds a shared lock on one file. Source: proc(5), /proc/locks."""
        inode = (self.spool / "serving.lock").stat().st_ino
        lines = map(str.split, Path("/proc/locks").read_text().splitlines())
        # By process: what changes while the list is read may stand in it twice.
        return len({line[4] for line in lines if line[1] == "FLOCK" and line[5].endswith(f":{inode}")})

    def readiness(self) -> Answer:
        """Of whichever worker answers; status 0 when none does."""
        try:
            return ask(f"{self.url}/readyz")
        except OSError:
            return Answer(0, {}, {})

    def all_ready(self) -> bool:
        """By their own word of the last second: a probe may reach the same worker every time."""
        return self.metric("sira_workers_ready") == len(self.workers())

    def none_ready(self) -> bool:
        return self.metric("sira_workers_ready") == 0

    def metric(self, name: str, *labels: str) -> float:
        """Sum over the series of `name` that carry all of `labels`, each as it is printed: `reason="x"`."""
        try:
            lines = str(ask(f"{self.url}/metrics").body).splitlines()
        except OSError:
            return float("nan")
        found = [
            line for line in lines if line.startswith((f"{name}{{", f"{name} ")) and all(x in line for x in labels)
        ]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def await_ready(self) -> float:
        def is_ready() -> bool:
            if self.process.ended():
                raise StandFailed(f"the service ended: see {self.process.log}")
            return self.readiness().status == 200

        return wait_until(is_ready, READY_SECONDS, "the service is ready")


def _serves(pid: int) -> bool:
    try:
        return b"_bentoml_impl.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
