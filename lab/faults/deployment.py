"""What a scenario runs on: a real Postgres behind a proxy, the registry, the service and the controller."""

import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from lab.background import Background
from lab.faults.models import PRODUCT, Models
from lab.faults.proxy import Proxy
from lab.postgres import LocalPostgres
from lab.product import NO_SETTINGS, Controller, Product, Service, Settings
from lab.versions import make_production, open_artifacts
from lab.waiting import wait_until
from migrations import runner
from registry.artifacts import ArtifactStore
from registry.registration import Declaration, register
from runtime.postgres import Connection, connect
from scoring.log.spool_file import orphans

DATABASE = "sira"
ROLE = "sira_service"
WORKERS = 2
ACTOR = "faults"
# A rollout stays at its step: only the injected fault may end it, not its plan.
STEADY = {"plan": {"steps": [{"percent": 100, "bake_seconds": 86_400, "gate": "manual"}]}}


@dataclass
class Deployment:
    """`database` is a proxy between the product and Postgres. The product connects with the least-privilege role."""

    product: Product
    models: Models
    postgres: LocalPostgres
    database: Proxy
    ids: dict[str, str]  # version -> model_id
    _running: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def open(
        cls,
        folder: Path,
        background: Background,
        models: Models,
        *,
        bucket: Settings = NO_SETTINGS,
        postgres_home: Path | None = None,
    ) -> Self:
        """`bucket`: MODEL_BUCKET and the settings that boto3 reads; without it artifacts are files in `folder`."""
        with ExitStack() as opening:
            postgres = opening.enter_context(LocalPostgres.start(postgres_home or folder / "postgres"))
            owner_url = postgres.create_database(DATABASE)
            database = opening.enter_context(Proxy(background, postgres.port))
            password = secrets.token_urlsafe(24)
            product = opening.enter_context(Product.over(folder, role_url(database.port, password), settings=bucket))
            with connect(owner_url, name="faults", autocommit=True) as connection:
                runner.up(connection)
                set_password(connection, password)
                ids = _register(connection, models, open_artifacts(product.environment))
            return cls(product, models, postgres, database, ids, opening.pop_all())

    def owner(self) -> Connection:
        """Connect as the owner of the database, directly to Postgres."""
        # No statement timeout: reconciling the rows of an hour takes long.
        return connect(self.postgres.url(DATABASE), name="faults", autocommit=True, statement_timeout_ms=0)

    def postgres_answers(self) -> bool:
        try:
            self.owner().close()
        except psycopg.OperationalError:
            return False
        return True

    def restart_postgres(self) -> None:
        """Stop it and start it on the same port."""
        self.postgres.stop()
        self.postgres = LocalPostgres.start(self.postgres.home)
        self.on_close(self.postgres.stop)

    def kill_postgres(self) -> None:
        """Kill all of its processes, and start it again on the same port: it recovers from its log."""
        self.postgres.kill()
        self.restart_postgres()

    def use_password(self, password: str) -> None:
        """Give this password to the processes that are started from now on."""
        self.product.environment["DATABASE_URL"] = role_url(self.database.port, password)

    def on_close(self, close: Callable[[], None]) -> None:
        """Call it when the deployment ends, before closing what was opened earlier."""
        self._running.callback(close)

    @property
    def service_token(self) -> str:
        return self.product.service_token

    @property
    def ml_ops_token(self) -> str:
        return self.product.token(subject=ACTOR)

    def start_service(
        self, name: str = "service", *, port: int | None = None, settings: Settings = NO_SETTINGS
    ) -> Service:
        """Start an instance and wait until it is ready. The same name again is the same machine: its spool remains."""
        service = self.product.start_service(name, port=port, workers=WORKERS, settings=settings)
        service.await_ready()
        return service

    def start_controller(self, name: str = "controller", settings: Settings = NO_SETTINGS) -> Controller:
        """Start a controller and wait until it has judged once."""
        controller = self.product.start_controller(name, settings=settings)
        controller.await_ready()
        return controller

    def unshipped_rows(self, service: Service) -> int:
        """Count the rows that a service which has ended left in its spool."""
        rows = 0
        for file in orphans(service.spool):
            rows += file.waiting_rows
            file.close()
        return rows

    def start_canary(self, service: Service, version: str, percent: float) -> None:
        """Start a rollout; return when every worker routes to the version."""
        body = {"product": PRODUCT, "canary_percent": percent, "canary_model_id": self.ids[version], **STEADY}
        self.operate(service, "/v1/canary", body)
        self.await_served(service, version, "canary")

    def promote(self, service: Service, version: str) -> None:
        """Promote the version in the registry; workers follow later."""
        self.operate(service, f"/v1/models/{self.ids[version]}/promote", {"target": "production"})

    def await_served(self, service: Service, version: str, variant: str, seconds: float = 30.0) -> float:
        """Return the seconds until every worker has loaded the version."""
        labels = f'model_id="{self.ids[version]}"', f'variant="{variant}"'
        return wait_until(
            lambda: service.metric("sira_model_info", *labels) == 1.0, seconds, f"version {version} is served"
        )

    def operate(self, service: Service, path: str, body: object) -> Any:
        """POST to a control route as ml_ops and return the answer's body. Raises RequestFailed."""
        return self.product.operator(service).post(path, body)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()


def role_url(port: int, password: str) -> str:
    return f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"


def set_password(connection: Connection, password: str) -> None:
    """Let the service's role log in with this password; open sessions stay."""
    statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(ROLE), sql.Literal(password))
    connection.execute(statement)


def _register(connection: Connection, models: Models, artifacts: ArtifactStore) -> dict[str, str]:
    ids = {}
    for version, path in models.paths.items():
        declaration = Declaration(PRODUCT, "gradient_boosting", version)
        ids[version] = register(connection, artifacts, path, declaration, actor=ACTOR).version.model_id
    make_production(connection, ids["1"], actor=ACTOR)
    return ids
