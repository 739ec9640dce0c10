"""This service and its controller over an embedded Postgres, everything on, and what a client asks of them."""

import json
import os
import secrets
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lab.benchmarks.contender import EVENT_HEAD, Running
from lab.benchmarks.model import PRODUCT, Row, Workload
from lab.benchmarks.others import EVENT
from lab.benchmarks.process import DIRECT, LOAD_CORE, SERVER_CORE, Server, ServerFailed, free_port
from lab.benchmarks.wrk import Target, write_bodies
from lab.postgres import LocalPostgres
from migrations import runner
from registry import store
from registry.artifacts import open_store
from registry.model_version import ModelVersion, Status
from registry.registration import Declaration, register
from runtime.auth import Role, mint_token
from runtime.postgres import Connection, connect

REPOSITORY = Path(__file__).parents[2]
READY_SECONDS = 60.0
MOST_FROM_CACHE = 0.01
# Elsewhere Postgres and the controller have machines of their own. Here they share wrk's core and give way to it: a
# load that waits for them measures them.
NICENESS = 10
MEMORY = Path("/dev/shm")
BENTO = ("-m", "bentoml", "serve", "service:SiraInference", "--host", "127.0.0.1", "--port", "{port}")


@dataclass(frozen=True)
class Api:
    """The routes of a process, as one caller sees them."""

    base: str
    token: str
    log: Path

    def get(self, path: str) -> Any:
        """Raises ServerFailed, as every call here."""
        return json.loads(self.text(path))

    def post(self, path: str, body: object) -> Any:
        return json.loads(self.text(path, json.dumps(body).encode()))

    def text(self, path: str, content: bytes | None = None) -> str:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            with DIRECT.open(urllib.request.Request(self.base + path, content, headers), timeout=60) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            raise ServerFailed("sira", f"{path} answered {error.code}: {told}", self.log) from None


@dataclass(frozen=True)
class Sira:
    """A serving process on the server's core, its controller and Postgres on the other."""

    server: Server
    service: Api  # as a product service
    control: Api  # as ml_ops
    database_url: str
    ready_seconds: float  # from the start of the serving processes to the first 200 of /readyz
    models: Mapping[str, str]  # variant -> model_id
    bodies: Path

    def running(self, bodies: Path | None = None) -> Running:
        """To be driven with other bodies than the workload's, if given."""
        url = f"{self.service.base}/v1/infer"
        return Running(
            self.server, Target(url, EVENT_HEAD, bodies or self.bodies, self.service.token), self.cache_fault
        )

    def cache_fault(self) -> str | None:
        """An answer from the cache is not a score: the figures must hold (almost) none."""
        hits, misses = self.metric("sira_cache_hits_total"), self.metric("sira_cache_misses_total")
        share = hits / max(hits + misses, 1)
        return f"{share:.0%} of the answers came from the cache" if share > MOST_FROM_CACHE else None

    def infer(self, event_id: str, payload: Row) -> Any:
        return self.service.post("/v1/infer", json.loads(EVENT.head + event_id + EVENT.tail(payload)))

    def promote(self, model_id: str, payload: Row) -> float:
        """Makes a version production; seconds from the call to the first answer that it gives."""
        started = time.perf_counter()
        self.control.post(f"/v1/models/{model_id}/promote", {"target": "production"})
        for attempt in range(5000):
            if self.infer(f"promote-{model_id}-{started}-{attempt}", payload)["model_id"] == model_id:
                return time.perf_counter() - started
            time.sleep(0.002)
        raise ServerFailed("sira", f"{model_id} was promoted and gives no answer", self.server.log)

    def metric(self, name: str) -> float:
        """Sum over the series of one metric."""
        lines = self.control.text("/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


@contextmanager
def serving(
    workload: Workload,
    folder: Path,
    *,
    command: Sequence[str] = BENTO,
    cores: str = str(SERVER_CORE),
    settings: Mapping[str, str] = MappingProxyType({}),
    one_disk: bool = False,
    seed: Callable[[Connection, ModelVersion], None] = lambda connection, production: None,
) -> Iterator[Sira]:
    """Postgres, migrations, both models registered, production promoted, then the processes; all gone on exit.

    `command` is what Python is to run, with {port}; `settings` go on top of the environment; `seed` may add to the
    registry before anything serves. With `one_disk` the service's log and Postgres are synced to the same disk.
    """
    with _postgres_home(folder, one_disk) as home, LocalPostgres.start(home) as postgres:
        os.setpriority(os.PRIO_PROCESS, postgres.pid, NICENESS)  # of every session from here on
        database_url = postgres.create_database("sira")
        with connect(database_url, name="benchmarks", autocommit=True) as connection:
            runner.up(connection)
            models = _register(connection, workload, folder)
            seed(connection, store.get_version(connection, models["production"]))
        environment = {**_environment(database_url, folder), **settings}
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        words = [sys.executable, *(word.format(port=port) for word in command)]
        log = folder / "service.log"
        with _controller(environment, folder), ExitStack() as stack:
            started = time.perf_counter()
            server = Server("sira", words, cwd=REPOSITORY, env=environment, log=log, cores=cores)
            stack.enter_context(server)
            server.wait_ready(f"{base}/readyz", READY_SECONDS)
            yield Sira(
                server=server,
                service=Api(base, environment["INTERNAL_SERVICE_TOKEN"], server.log),
                control=Api(base, _ml_ops_token(environment), server.log),
                database_url=database_url,
                ready_seconds=time.perf_counter() - started,
                models=models,
                bodies=write_bodies(folder / "bodies", map(EVENT.tail, workload.payloads)),
            )


@contextmanager
def _postgres_home(folder: Path, one_disk: bool) -> Iterator[Path]:
    """On the service's disk, or in memory: what stands here for a disk of its own on another machine."""
    if one_disk or not MEMORY.is_dir():
        yield folder / "postgres"
        return
    with tempfile.TemporaryDirectory(prefix="sira-postgres-", dir=MEMORY) as elsewhere:
        os.chmod(elsewhere, 0o755)  # Postgres is another user when root starts it
        yield Path(elsewhere, "postgres")


def _environment(database_url: str, folder: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "MODEL_BUCKET": f"file://{folder / 'artifacts'}",
        "MODEL_DIR": str(folder / "models"),
        "SPOOL_DIR": str(folder / "spool"),
        "JWT_SECRET": secrets.token_urlsafe(48),
        "INTERNAL_SERVICE_TOKEN": secrets.token_urlsafe(48),
        "CONTROL_PORT": str(free_port()),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
    }


@contextmanager
def controlled(database_url: str, folder: Path, settings: Mapping[str, str]) -> Iterator[Api]:
    """A controller alone, over a database that is there."""
    environment = {**_environment(database_url, folder), **settings}
    with _controller(environment, folder) as running:
        yield Api(f"http://127.0.0.1:{environment['CONTROL_PORT']}", _ml_ops_token(environment), running.log)


@contextmanager
def _controller(environment: Mapping[str, str], folder: Path) -> Iterator[Server]:
    command = ["nice", "-n", str(NICENESS), sys.executable, "-m", "controller"]
    log = folder / "controller.log"
    with Server("controller", command, cwd=REPOSITORY, env=environment, log=log, cores=str(LOAD_CORE)) as running:
        running.wait_ready(f"http://127.0.0.1:{environment['CONTROL_PORT']}/healthz", READY_SECONDS)
        yield running


def _ml_ops_token(environment: Mapping[str, str]) -> str:
    return mint_token(
        environment["JWT_SECRET"],
        subject="benchmarks",
        role=Role.ml_ops,
        now=datetime.now(UTC),
        lifetime=timedelta(hours=6),
    )


def _register(connection: Connection, workload: Workload, folder: Path) -> dict[str, str]:
    artifacts = open_store(f"file://{folder / 'artifacts'}")
    models = {
        variant: register(
            connection, artifacts, path, Declaration(PRODUCT, "benchmark", variant), actor="benchmarks"
        ).version.model_id
        for variant, path in workload.models.items()
    }
    with connection.transaction():
        store.change_status(connection, models["production"], Status.PRODUCTION, actor="benchmarks")
    return models
