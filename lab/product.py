"""The product's two processes: started with everything they need, and as their callers and operators see them."""

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from lab import procfs
from lab.http import Answer, Client, ask, metric
from lab.ports import free_port
from lab.process import Process
from runtime.auth import Role, mint_token

READY_SECONDS = 90.0
TOKEN_LIFETIME = timedelta(hours=6)
DEFAULT_WORKERS = 2
# Words after the Python interpreter. {port} is filled in.
SERVICE = ("-m", "bentoml", "serve", "service:SiraInference", "--host", "127.0.0.1", "--port", "{port}")
CONTROLLER = ("-m", "controller")
# Of our own environment, what a process needs to run at all.
INHERITED = ("PATH", "HOME", "LANG")

Settings = Mapping[str, str]
NO_SETTINGS: Settings = MappingProxyType({})


@dataclass
class Service:
    """A serving process with its workers. `ready_seconds`: from its start to the first 200 of /readyz."""

    process: Process
    port: int
    spool: Path
    ready_seconds: float = float("nan")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[int]:
        """Return the ids of the processes that serve: those that BentoML's arbiter started."""
        return [pid for pid in self.process.family() if "_bentoml_impl.worker" in " ".join(procfs.command_line(pid))]

    def accepting_workers(self) -> int:
        """Count the workers that accept connections: each holds a shared lock on one file of the spool's folder."""
        return len(procfs.lock_holders(self.spool / "serving.lock"))

    def readiness(self) -> Answer:
        """Return the answer of /readyz from any one worker; status 0 if there is none."""
        try:
            return ask(f"{self.url}/readyz")
        except OSError:
            return Answer(0, {}, b"")

    def all_ready(self) -> bool:
        """Return whether every worker has reported itself ready: probes may reach the same worker each time."""
        return self.metric("sira_workers_ready") == len(self.workers())

    def none_ready(self) -> bool:
        return self.metric("sira_workers_ready") == 0

    def metric(self, name: str, *labels: str) -> float:
        """Return the sum over the matching series of /metrics, see lab.http.metric(); NaN if there is no answer."""
        try:
            return metric(ask(f"{self.url}/metrics").text, name, *labels)
        except OSError:
            return float("nan")

    def await_ready(self) -> float:
        """Return the seconds until /readyz answers 200. Raises ProcessFailed."""
        self.ready_seconds = self.process.wait_ready(f"{self.url}/readyz", READY_SECONDS)
        return self.ready_seconds


@dataclass
class Controller:
    process: Process
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def await_ready(self) -> float:
        """Return the seconds until it has judged at least once. Raises ProcessFailed."""
        return self.process.wait_ready(f"{self.url}/readyz", READY_SECONDS)

    def await_alive(self) -> float:
        """Return the seconds until it answers at all. Raises ProcessFailed."""
        return self.process.wait_ready(f"{self.url}/healthz", READY_SECONDS)


@dataclass
class Product:
    """Starts the product's processes over one database and one artifact store; ends them when the block ends.

    `environment` is all that a process gets; each also has a folder of its own under `folder` and a log there.
    `stop_seconds`: how long a process may take to end by itself before it is killed.
    """

    folder: Path
    environment: dict[str, str]
    stop_seconds: float = 0.0
    _running: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def over(
        cls, folder: Path, database_url: str, *, settings: Settings = NO_SETTINGS, stop_seconds: float = 0.0
    ) -> Self:
        """Use new secrets and a folder of artifacts, unless `settings` say otherwise; nothing of our environment."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment = {
            **inherited,
            "DATABASE_URL": database_url,
            "MODEL_BUCKET": (folder / "artifacts").as_uri(),
            "JWT_SECRET": secrets.token_urlsafe(32),
            "INTERNAL_SERVICE_TOKEN": secrets.token_urlsafe(32),
            "ORT_DISABLE_TELEMETRY": "1",
            "BENTOML_DO_NOT_TRACK": "True",
            **settings,
        }
        return cls(folder, environment, stop_seconds)

    @property
    def service_token(self) -> str:
        return self.environment["INTERNAL_SERVICE_TOKEN"]

    def token(self, role: Role = Role.ml_ops, *, subject: str = "lab") -> str:
        """Return a JWT of this role that lasts for some hours."""
        secret, now = self.environment["JWT_SECRET"], datetime.now(UTC)
        return mint_token(secret, subject=subject, role=role, now=now, lifetime=TOKEN_LIFETIME)

    def operator(self, running: Service | Controller) -> Client:
        """Return a client of the process's control routes, with the role ml_ops."""
        return Client(running.url, self.token())

    def start_service(
        self,
        name: str = "service",
        *,
        port: int | None = None,
        workers: int = DEFAULT_WORKERS,
        settings: Settings = NO_SETTINGS,
        command: Sequence[str] = SERVICE,
        cores: str | None = None,
    ) -> Service:
        """Start an instance; it is not ready yet. The same name again is the same machine: spool and models remain."""
        port = port or free_port()
        environment = self._environment(name, workers_setting(workers) | dict(settings))
        words = [word.format(port=port) for word in command]
        return Service(self._start(name, words, environment, cores=cores), port, Path(environment["SPOOL_DIR"]))

    def start_controller(
        self,
        name: str = "controller",
        *,
        port: int | None = None,
        settings: Settings = NO_SETTINGS,
        cores: str | None = None,
        niceness: int = 0,
    ) -> Controller:
        """Start a controller; it is not ready yet."""
        port = port or free_port()
        environment = self._environment(name, {"CONTROL_PORT": str(port), **settings})
        return Controller(self._start(name, CONTROLLER, environment, cores=cores, niceness=niceness), port)

    def close(self) -> None:
        """End what was started, the newest first. Safe to repeat."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _environment(self, name: str, settings: Settings) -> dict[str, str]:
        home = self.folder / name
        folders = {
            "MODEL_DIR": str(home / "models"),
            "SPOOL_DIR": str(home / "spool"),
            "BENTOML_HOME": str(home / "bentoml"),
        }
        return {**folders, **self.environment, **settings}

    def _start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        cores: str | None = None,
        niceness: int = 0,
    ) -> Process:
        self.folder.mkdir(parents=True, exist_ok=True)
        process = Process(
            [sys.executable, *command],
            log=self.folder / f"{name}.log",
            environment=environment,
            cores=cores,
            niceness=niceness,
        )
        self._running.callback(process.terminate, self.stop_seconds)
        return process


def workers_setting(count: int) -> dict[str, str]:
    """Return the setting that makes BentoML start `count` workers; its option --api-workers has no effect."""
    return {"BENTOML_CONFIG_OPTIONS": f"services.sira_inference.workers={count}"}
