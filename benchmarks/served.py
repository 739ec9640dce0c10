"""This service and its controller over an embedded Postgres, everything on, and what a client asks of them."""

import json
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from benchmarks.contender import EVENT_HEAD, Running
from benchmarks.model import PRODUCT, Row, Workload
from benchmarks.others import EVENT
from benchmarks.process import DIRECT, LOAD_CORE, SERVER_CORE, Server, ServerFailed, free_port
from benchmarks.wrk import Target, write_bodies
from migrations import runner
from registry import store
from registry.artifacts import open_store
from registry.model_version import ModelVersion, Status
from registry.registration import Declaration, register
from runtime.auth import Role, mint_token
from runtime.local import LocalPostgres
from runtime.postgres import Connection, connect

REPOSITORY = Path(__file__).parent.parent
READY_SECONDS = 60.0
MOST_FROM_CACHE = 0.01


@dataclass(frozen=True)
class Sira:
    """A serving process on the server's core, its controller and Postgres on the other."""

    server: Server
    base: str
    database_url: str
    ready_seconds: float  # from the start of the serving processes to the first 200 of /readyz
    models: Mapping[str, str]  # variant -> model_id
    service_token: str
    ml_ops_token: str
    bodies: Path

    def running(self, bodies: Path | None = None) -> Running:
        """To be driven with other bodies than the workload's, if given."""
        target = Target(f"{self.base}/v1/infer", EVENT_HEAD, bodies or self.bodies, self.service_token)
        return Running(self.server, target, self.cache_fault)

    def cache_fault(self) -> str | None:
        """An answer from the cache is not a score: the figures must hold (almost) none."""
        hits, misses = self.metric("sira_cache_hits_total"), self.metric("sira_cache_misses_total")
        share = hits / max(hits + misses, 1)
        return f"{share:.0%} of the answers came from the cache" if share > MOST_FROM_CACHE else None

    def infer(self, event_id: str, payload: Row) -> Any:
        return self._call("/v1/infer", self.service_token, json.loads(EVENT.head + event_id + EVENT.tail(payload)))

    def promote(self, model_id: str, payload: Row) -> float:
        """Makes a version production; seconds from the call to the first answer that it gives."""
        started = time.perf_counter()
        self.post(f"/v1/models/{model_id}/promote", {"target": "production"})
        for attempt in range(5000):
            if self.infer(f"promote-{model_id}-{started}-{attempt}", payload)["model_id"] == model_id:
                return time.perf_counter() - started
            time.sleep(0.002)
        raise ServerFailed("sira", f"{model_id} was promoted and gives no answer", self.server.log)

    def post(self, path: str, body: object) -> Any:
        """A control route, as ml_ops; raises ServerFailed."""
        return self._call(path, self.ml_ops_token, body)

    def get(self, path: str) -> Any:
        return self._call(path, self.ml_ops_token)

    def metric(self, name: str) -> float:
        """Sum over the series of one metric."""
        with DIRECT.open(f"{self.base}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def _call(self, path: str, token: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        try:
            with DIRECT.open(urllib.request.Request(self.base + path, content, headers), timeout=10) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            raise ServerFailed("sira", f"{path} answered {error.code}: {told}", self.server.log) from None


@contextmanager
def serving(
    workload: Workload,
    folder: Path,
    *,
    workers: int = 1,
    cores: str = str(SERVER_CORE),
    settings: Mapping[str, str] = MappingProxyType({}),
    seed: Callable[[Connection, ModelVersion], None] = lambda connection, production: None,
) -> Iterator[Sira]:
    """Postgres, migrations, both models registered, production promoted, then the processes; all gone on exit.

    `settings` go on top of the environment; `seed` may add to the registry before anything serves.
    """
    with LocalPostgres.start(folder / "postgres") as postgres:
        database_url = postgres.create_database("sira")
        with connect(database_url, name="benchmarks", autocommit=True) as connection:
            runner.up(connection)
            models = _register(connection, workload, folder)
            seed(connection, store.get_version(connection, models["production"]))
        environment = {**_environment(database_url, folder), **settings}
        base = f"http://127.0.0.1:{free_port()}"
        with _controller(environment, folder), _service(environment, folder, base, workers, cores) as server:
            started = time.perf_counter()
            server.wait_ready(f"{base}/readyz", READY_SECONDS)
            yield Sira(
                server=server,
                base=base,
                database_url=database_url,
                ready_seconds=time.perf_counter() - started,
                models=models,
                service_token=environment["INTERNAL_SERVICE_TOKEN"],
                ml_ops_token=ml_ops_token(environment["JWT_SECRET"]),
                bodies=write_bodies(folder / "bodies", map(EVENT.tail, workload.payloads)),
            )


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
def _controller(environment: Mapping[str, str], folder: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "controller"]
    log = folder / "controller.log"
    with Server("controller", command, cwd=REPOSITORY, env=environment, log=log, cores=str(LOAD_CORE)) as running:
        running.wait_ready(f"http://127.0.0.1:{environment['CONTROL_PORT']}/healthz", READY_SECONDS)
        yield running


def _service(environment: Mapping[str, str], folder: Path, base: str, workers: int, cores: str) -> Server:
    command = [sys.executable, "-m", "bentoml", "serve", "service:SiraInference", "--host", "127.0.0.1"]
    command += ["--port", str(urlsplit(base).port), "--api-workers", str(workers)]
    return Server("sira", command, cwd=REPOSITORY, env=environment, log=folder / "service.log", cores=cores)


def ml_ops_token(jwt_secret: str) -> str:
    now = datetime.now(UTC)
    return mint_token(jwt_secret, subject="benchmarks", role=Role.ml_ops, now=now, lifetime=timedelta(hours=6))


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
