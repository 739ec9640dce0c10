"""This service and its controller over an embedded Postgres, with everything on, as a benchmark starts them."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.benchmarks.contender import EVENT, EVENT_HEAD, LOAD_CORE, SERVER_CORE, Running
from lab.benchmarks.model import PRODUCT, Row, Workload
from lab.errors import ProcessFailed
from lab.http import Client, metric
from lab.load.generator import Target, write_bodies
from lab.postgres import LocalPostgres
from lab.process import Process
from lab.product import NO_SETTINGS, SERVICE, Product, Service, Settings
from lab.versions import make_production, open_artifacts
from migrations import runner
from registry import store
from registry.artifacts import ArtifactStore
from registry.inspection.child import inspect
from registry.inspection.metadata import ModelMetadata
from registry.inspection.parent import ReferenceRequest
from registry.model_session import ModelSession
from registry.model_version import ModelVersion
from registry.registration import Declaration, register
from runtime.metrics import LATENCY_EDGES
from runtime.postgres import Connection, connect

ACTOR = "benchmarks"
MAX_CACHED_SHARE = 0.01
REFERENCE_ROWS = 500
# In production Postgres and the controller run on machines of their own. Here they share the load generator's core and
# yield to it: load that waits for them would measure them.
NICENESS = 10
STOP_SECONDS = 10.0
MEMORY = Path("/dev/shm")
PROMOTE_POLLS = 5_000
PROMOTE_POLL_SECONDS = 0.002


@dataclass(frozen=True)
class BenchDeployment:
    """A serving process on the server's core; its controller and Postgres are on the load's core.

    `client` calls with the service token, `operator` with the role ml_ops. `models`: variant -> model_id.
    """

    service: Service
    client: Client
    operator: Client
    database_url: str
    models: dict[str, str]
    bodies: Path

    @property
    def process(self) -> Process:
        return self.service.process

    def running(self, bodies: Path | None = None) -> Running:
        """Return what a load generator needs; `bodies` replaces those of the workload."""
        target = Target(f"{self.service.url}/v1/infer", EVENT_HEAD, bodies or self.bodies, self.client.token)
        return Running(self.process, target, self.cache_fault, self.commit_times)

    def cache_fault(self) -> str | None:
        """Return why the figures do not count: too many answers came from the cache, which is not scoring."""
        hits, misses = self.metric("sira_cache_hits_total"), self.metric("sira_cache_misses_total")
        share = hits / max(hits + misses, 1)
        return f"{share:.0%} of the answers came from the cache" if share > MAX_CACHED_SHARE else None

    def commit_times(self) -> str | None:
        """Return how slow the disk was that every answer waited for."""
        exposition, name = self.operator.text("/metrics"), "sira_log_commit_seconds"
        commits = metric(exposition, f"{name}_count")
        for edge in LATENCY_EDGES:
            if metric(exposition, f"{name}_bucket", f'le="{edge}"') >= 0.99 * commits:
                return f"99 in 100 commits to its disk took at most {1e3 * edge:g} ms"
        return "its disk has stalled for many seconds"

    def infer(self, event_id: str, payload: Row) -> Any:
        return self.client.post("/v1/infer", json.loads(EVENT.head + event_id + EVENT.tail(payload)))

    def promote(self, model_id: str, payload: Row) -> float:
        """Promote a version; return the seconds from the call to the first answer that it gives."""
        started = time.perf_counter()
        self.operator.post(f"/v1/models/{model_id}/promote", {"target": "production"})
        for attempt in range(PROMOTE_POLLS):
            if self.infer(f"promote-{model_id}-{started}-{attempt}", payload)["model_id"] == model_id:
                return time.perf_counter() - started
            time.sleep(PROMOTE_POLL_SECONDS)
        raise ProcessFailed(self.process.name, f"does not answer by {model_id}, which was promoted", self.process.log)

    def metric(self, name: str) -> float:
        """Return the sum over the series of one metric. Raises RequestFailed."""
        return metric(self.operator.text("/metrics"), name)


Seed = Callable[[Connection, ModelVersion], None]
"""Changes the database before the processes start: it is given a connection and the production version."""


def seed_nothing(connection: Connection, production: ModelVersion) -> None:
    """Leave the database as it is."""


@contextmanager
def serving(
    workload: Workload,
    folder: Path,
    *,
    command: Sequence[str] = SERVICE,
    workers: int = 1,
    cores: str = str(SERVER_CORE),
    settings: Settings = NO_SETTINGS,
    one_disk: bool = False,
    seed: Seed = seed_nothing,
) -> Iterator[BenchDeployment]:
    """Start Postgres, migrate, register both models, promote production, start the processes; end all on exit.

    `command`: words after the Python interpreter, with {port}. `settings` override the environment. `seed` may change
    the database before the processes start. `one_disk`: the service's spool and Postgres are synced to the same disk.
    """
    with _postgres_home(folder, one_disk) as home, LocalPostgres.start(home) as postgres:
        os.setpriority(os.PRIO_PROCESS, postgres.pid, NICENESS)  # inherited by every session from here on
        database_url = postgres.create_database("sira")
        with _product(folder, database_url, settings) as product:
            with connect(database_url, name="benchmarks", autocommit=True) as connection:
                runner.up(connection)
                models = _register(connection, workload, open_artifacts(product.environment))
                seed(connection, store.get_version(connection, models["production"]))
            _start_controller(product)
            service = product.start_service(workers=workers, command=command, cores=cores)
            service.await_ready()
            yield BenchDeployment(
                service=service,
                client=Client(service.url, product.service_token),
                operator=product.operator(service),
                database_url=database_url,
                models=models,
                bodies=write_bodies(folder / "bodies", map(EVENT.tail, workload.payloads)),
            )


@contextmanager
def controlled(database_url: str, folder: Path, settings: Settings, *, niceness: int = NICENESS) -> Iterator[Client]:
    """Start only a controller, over an existing database; yield a client with the role ml_ops."""
    with _product(folder, database_url, settings) as product:
        yield _start_controller(product, niceness)


def _product(folder: Path, database_url: str, settings: Settings) -> Product:
    return Product.over(folder, database_url, settings=settings, stop_seconds=STOP_SECONDS)


def _start_controller(product: Product, niceness: int = NICENESS) -> Client:
    controller = product.start_controller(cores=str(LOAD_CORE), niceness=niceness)
    controller.await_alive()
    return product.operator(controller)


@contextmanager
def _postgres_home(folder: Path, one_disk: bool) -> Iterator[Path]:
    """Yield a folder on the service's disk, or in memory, which stands for a disk of another machine."""
    if one_disk or not MEMORY.is_dir():
        yield folder / "postgres"
        return
    with tempfile.TemporaryDirectory(prefix="sira-postgres-", dir=MEMORY) as elsewhere:
        os.chmod(elsewhere, 0o755)  # started by root, Postgres runs as another user
        yield Path(elsewhere, "postgres")


def _register(connection: Connection, workload: Workload, artifacts: ArtifactStore) -> dict[str, str]:
    models = {
        variant: register_checked(connection, workload, artifacts, path, variant)
        for variant, path in workload.models.items()
    }
    make_production(connection, models["production"], actor=ACTOR)
    return models


def register_checked(
    connection: Connection, workload: Workload, artifacts: ArtifactStore, path: Path, version: str
) -> str:
    """Register a model with reference rows and return its id: without them, there is no background and no baseline."""
    declaration = Declaration(PRODUCT, "benchmark", version)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(_reference_lines(path, workload))
        file.flush()
        reference = ReferenceRequest(file.name)
        return register(connection, artifacts, path, declaration, actor=ACTOR, reference=reference).version.model_id


def _reference_lines(path: Path, workload: Workload) -> Iterator[str]:
    session = ModelSession(inspect(path, ModelMetadata()).signature, path)
    payloads = workload.payloads[:REFERENCE_ROWS]
    scores = session.score([session.feed.row(payload) for payload in payloads])
    for payload, score in zip(payloads, scores, strict=True):
        yield json.dumps({**payload, "score": float(score)}) + "\n"
