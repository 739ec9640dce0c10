"""This service as a contender: everything on, over an embedded Postgres with its durability untouched."""

import json
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contender import EVENT_HEAD, Contender, Running, Scored, Wire
from benchmarks.model import PRODUCT, Row, Workload
from benchmarks.others import EVENT
from benchmarks.process import DIRECT, LOAD_CORE, SERVER_CORE, Server, ServerFailed, free_port
from benchmarks.wrk import Target, write_bodies
from migrations import runner
from registry import store
from registry.artifacts import open_store
from registry.model_version import Status
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
    models: Mapping[str, str]  # variant -> model_id
    service_token: str
    ml_ops_token: str
    bodies: Path

    @property
    def target(self) -> Target:
        return Target(f"{self.base}/v1/infer", EVENT_HEAD, self.bodies, self.service_token)

    def infer(self, event_id: str, payload: Row) -> Any:
        return self._call("/v1/infer", self.service_token, json.loads(EVENT.head + event_id + EVENT.tail(payload)))

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


def contenders() -> list[Contender]:
    wire = Wire(EVENT.head, EVENT.tail, _read)
    return [
        Contender("sira", "**this service**, everything on", wire, partial(_start, canary_percent=0)),
        Contender("sira_canary", "**this service**, canary at 10 %", wire, partial(_start, canary_percent=10)),
    ]


@contextmanager
def serving(workload: Workload, folder: Path, workers: int = 1, cores: str = str(SERVER_CORE)) -> Iterator[Sira]:
    """Postgres, migrations, both models registered, production promoted, then the processes; all gone on exit."""
    with LocalPostgres.start(folder / "postgres") as postgres:
        database_url = postgres.create_database("sira")
        with connect(database_url, name="benchmarks", autocommit=True) as connection:
            runner.up(connection)
            models = _register(connection, workload, folder)
        secret, token = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
        port, control_port = free_port(), free_port()
        environment = {
            "DATABASE_URL": database_url,
            "MODEL_BUCKET": f"file://{folder / 'artifacts'}",
            "MODEL_DIR": str(folder / "models"),
            "SPOOL_DIR": str(folder / "spool"),
            "JWT_SECRET": secret,
            "INTERNAL_SERVICE_TOKEN": token,
            "CONTROL_PORT": str(control_port),
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "ORT_DISABLE_TELEMETRY": "1",
        }
        serve = [sys.executable, "-m", "bentoml", "serve", "service:SiraInference", "--port", str(port)]
        serve += ["--host", "127.0.0.1", "--api-workers", str(workers)]
        control = [sys.executable, "-m", "controller"]
        server = Server("sira", serve, cwd=REPOSITORY, env=environment, log=folder / "service.log", cores=cores)
        controller = Server(
            "controller", control, cwd=REPOSITORY, env=environment, log=folder / "controller.log", cores=str(LOAD_CORE)
        )
        try:
            base = f"http://127.0.0.1:{port}"
            controller.wait_ready(f"http://127.0.0.1:{control_port}/healthz", READY_SECONDS)
            server.wait_ready(f"{base}/readyz", READY_SECONDS)
            ml_ops = mint_token(
                secret, subject="benchmarks", role=Role.ml_ops, now=datetime.now(UTC), lifetime=timedelta(hours=6)
            )
            bodies = write_bodies(folder / "bodies", map(EVENT.tail, workload.payloads))
            yield Sira(server, base, database_url, models, token, ml_ops, bodies)
        finally:
            server.stop()
            controller.stop()


@contextmanager
def _start(workload: Workload, folder: Path, canary_percent: int) -> Iterator[Running]:
    with serving(workload, folder) as sira:
        if not canary_percent:
            yield Running(sira.server, sira.target, partial(_cache_fault, sira))
            return
        body = {"product": PRODUCT, "canary_percent": canary_percent, "canary_model_id": sira.models["canary"]}
        sira.post("/v1/canary", body)
        _await_canary(sira, workload.payloads[0])
        yield Running(sira.server, sira.target, partial(_canary_fault, sira, canary_percent))


def _await_canary(sira: Sira, payload: Row) -> None:
    """Returns at the first answer of the canary: the worker has loaded it."""
    for attempt in range(1000):
        if sira.infer(f"await-{attempt}", payload)["variant"] == "canary":
            return
        time.sleep(0.02)
    raise ServerFailed("sira_canary", "no answer came from the canary", sira.server.log)


def _canary_fault(sira: Sira, percent: int) -> str | None:
    """A canary that was rolled back during the rounds leaves figures of something else."""
    found = sira.get(f"/v1/canary/{PRODUCT}")
    if found["canary_percent"] != percent:
        return f"the canary ended the run at {found['canary_percent']} % ({found['state']})"
    return _cache_fault(sira)


def _cache_fault(sira: Sira) -> str | None:
    """An answer from the cache is not a score: the figures must hold (almost) none."""
    hits, misses = sira.metric("sira_cache_hits_total"), sira.metric("sira_cache_misses_total")
    share = hits / max(hits + misses, 1)
    return f"{share:.0%} of the answers came from the cache" if share > MOST_FROM_CACHE else None


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


def _read(answer: Any) -> Scored:
    return Scored(answer["score"], answer["variant"])
