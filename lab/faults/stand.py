"""What a scenario stands on: Postgres, the registry, service and controller, all real, all gone at the end."""

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from lab.faults.background import Background
from lab.faults.models import PRODUCT, Models
from lab.faults.process import Process, free_port
from lab.faults.proxy import Proxy
from lab.faults.service import READY_SECONDS, Service, StandFailed, ask, wait_until
from lab.postgres import LocalPostgres
from migrations import runner
from registry import store
from registry.artifacts import open_store
from registry.model_version import Status
from registry.registration import Declaration, register
from runtime.auth import Role, mint_token
from runtime.postgres import Connection, connect
from scoring.spool_file import orphans

DATABASE = "sira"
ROLE = "sira_service"
WORKERS = 2
# Rollouts of a scenario stay as they were set: what ends one must be the fault, not the plan.
STEADY = {"plan": {"steps": [{"percent": 100, "bake_seconds": 86_400, "gate": "manual"}]}}
Settings = Mapping[str, str]
NONE: Settings = {}


@dataclass
class Stand:
    """`database` stands between the product and Postgres. The product is the least-privilege role there."""

    folder: Path
    background: Background
    models: Models
    postgres: LocalPostgres
    database: Proxy
    environment: dict[str, str]
    ids: dict[str, str]  # version -> model_id
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @classmethod
    def open(
        cls,
        folder: Path,
        background: Background,
        models: Models,
        *,
        bucket: Mapping[str, str] | None = None,
        postgres_home: Path | None = None,
    ) -> Self:
        """`bucket`: MODEL_BUCKET and what boto3 reads; a folder without it."""
        with contextlib.ExitStack() as opening:
            postgres = opening.enter_context(LocalPostgres.start(postgres_home or folder / "postgres"))
            password = secrets.token_urlsafe(24)
            owner_url = postgres.create_database(DATABASE)
            artifacts = dict(bucket or {"MODEL_BUCKET": (folder / "artifacts").as_uri()})
            with connect(owner_url, name="faults", autocommit=True) as connection:
                runner.up(connection)
                set_password(connection, password)
                ids = _register(connection, models, artifacts)
            database = opening.enter_context(Proxy(background, postgres.port))
            environment = {
                **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
                **artifacts,
                "DATABASE_URL": role_url(database.port, password),
                "JWT_SECRET": secrets.token_urlsafe(32),
                "INTERNAL_SERVICE_TOKEN": secrets.token_urlsafe(32),
                "ORT_DISABLE_TELEMETRY": "1",
                "BENTOML_DO_NOT_TRACK": "True",
            }
            return cls(folder, background, models, postgres, database, environment, ids, opening.pop_all())

    def owner(self) -> Connection:
        """A connection of the database's owner, past the proxy."""
        # Without a limit: the account of an hour's rows takes its time.
        return connect(self.postgres.url(DATABASE), name="faults", autocommit=True, statement_timeout_ms=0)

    def postgres_answers(self) -> bool:
        try:
            self.owner().close()
        except psycopg.OperationalError:
            return False
        return True

    def restart_postgres(self) -> None:
        """On the port it had."""
        self.postgres.stop()
        self.postgres = LocalPostgres.start(self.postgres.home)
        self.closing(self.postgres.stop)

    def know_password(self, password: str) -> None:
        """What is started from now on uses it."""
        self.environment["DATABASE_URL"] = role_url(self.database.port, password)

    def closing(self, close: Callable[[], None]) -> None:
        """Call it when the stand goes, before what was opened earlier goes."""
        self._running.callback(close)

    @property
    def service_token(self) -> str:
        return self.environment["INTERNAL_SERVICE_TOKEN"]

    @property
    def ml_ops_token(self) -> str:
        return mint_token(
            self.environment["JWT_SECRET"],
            subject="faults",
            role=Role.ml_ops,
            now=datetime.now(UTC),
            lifetime=timedelta(hours=3),
        )

    def serve(self, name: str = "service", *, port: int | None = None, settings: Settings = NONE) -> Service:
        """A ready instance. The same name again is the same machine: its spool and models are still there."""
        home, port = self.folder / name, port or free_port()
        home.mkdir(exist_ok=True)
        environment = self.environment | {
            "MODEL_DIR": str(home / "models"),
            "SPOOL_DIR": str(home / "spool"),
            "BENTOML_HOME": str(home / "bentoml"),
            "BENTOML_CONFIG_OPTIONS": f"services.sira_inference.workers={WORKERS}",
            **settings,
        }
        command = ["-m", "bentoml", "serve", "service:SiraInference", "--host", "127.0.0.1", "--port", str(port)]
        service = Service(Process(command, environment, home / "service.log"), port, Path(environment["SPOOL_DIR"]))
        self._running.callback(service.process.kill)
        service.await_ready()
        return service

    def control(self, name: str = "controller", settings: Settings = NONE) -> Process:
        """A controller that has judged at least once."""
        port = free_port()
        environment = self.environment | {
            "CONTROL_PORT": str(port),
            "MODEL_DIR": str(self.folder / name),
            "SPOOL_DIR": str(self.folder / name),
            **settings,
        }
        process = Process(["-m", "controller"], environment, self.folder / f"{name}.log")
        self._running.callback(process.kill)

        def is_ready() -> bool:
            if process.ended():
                raise StandFailed(f"the controller ended: see {process.log}")
            with contextlib.suppress(OSError):
                return ask(f"http://127.0.0.1:{port}/readyz").status == 200
            return False

        wait_until(is_ready, READY_SECONDS, "the controller is ready")
        return process

    def spooled(self, service: Service) -> int:
        """Rows that a service which has ended left unshipped."""
        rows = 0
        for file in orphans(service.spool):
            rows += file.backlog().rows
            file.close()
        return rows

    def start_canary(self, service: Service, version: str, percent: float) -> None:
        """Returns when every worker routes to it."""
        body = {"product": PRODUCT, "canary_percent": percent, "canary_model_id": self.ids[version], **STEADY}
        self.order(service, "/v1/canary", body)
        self.await_served(service, version, "canary")

    def promote(self, service: Service, version: str) -> None:
        """Returns when the registry says so: workers follow."""
        self.order(service, f"/v1/models/{self.ids[version]}/promote", {"target": "production"})

    def await_served(self, service: Service, version: str, variant: str, seconds: float = 30.0) -> float:
        """Seconds until every worker's snapshot holds the version."""
        wanted = f'model_id="{self.ids[version]}"', f'variant="{variant}"'
        return wait_until(
            lambda: service.metric("sira_model_info", *wanted) == 1.0, seconds, f"version {version} is served"
        )

    def order(self, service: Service, path: str, body: object) -> Any:
        """A control route, as ml_ops."""
        answer = ask(service.url + path, self.ml_ops_token, body)
        if answer.status >= 300:
            raise StandFailed(f"{path} answered {answer.status}: {answer.body}")
        return answer.body

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()


def role_url(port: int, password: str) -> str:
    return f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"


def set_password(connection: Connection, password: str) -> None:
    """Let the service's role log in with it; sessions that are open stay."""
    statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(ROLE), sql.Literal(password))
    connection.execute(statement)


def _register(connection: Connection, models: Models, artifacts: Mapping[str, str]) -> dict[str, str]:
    with _environment(artifacts):
        place = open_store(artifacts["MODEL_BUCKET"])
    ids = {
        version: register(
            connection, place, path, Declaration(PRODUCT, "gradient_boosting", version), actor="faults"
        ).version.model_id
        for version, path in models.paths.items()
    }
    with connection.transaction():
        store.change_status(connection, ids["1"], Status.PRODUCTION, actor="faults")
    return ids


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Any:
    """boto3 reads its settings when a client is made."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
