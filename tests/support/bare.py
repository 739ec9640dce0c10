"""Service and controller alone, over a database and folders that a test chooses: for tests that `served` cannot run."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab.product import SERVICE, Product, Service, workers_setting
from lab.versions import make_production
from registry.artifacts import open_store
from registry.model_version import Status
from registry.registration import Declaration, register
from registry.store import change_status
from runtime.auth import Role, mint_token
from runtime.postgres import connect
from tests.conftest import JWT_SECRET, SERVICE_TOKEN

PREVIOUS_TOKEN = "the-token-before-this-one-of-forty-chars"


def environment(folder: Path, database_url: str, *, workers: int = 2, **settings: str) -> dict[str, str]:
    """Return all that a process needs, and nothing that the shell or another test has set."""
    known = {
        "MODEL_DIR": str(folder / "models"),
        "SPOOL_DIR": str(folder / "spool"),
        "BENTOML_HOME": str(folder / "bentoml"),
        "JWT_SECRET": JWT_SECRET,
        "INTERNAL_SERVICE_TOKEN": SERVICE_TOKEN,
        **workers_setting(workers),
    }
    return Product.over(folder, database_url, settings=known | settings).environment


def command(port: int) -> list[str]:
    """Return the words after the Python interpreter that start a service."""
    return [word.format(port=port) for word in SERVICE]


@contextlib.contextmanager
def starting(folder: Path, database_url: str, *, workers: int = 2, **settings: str) -> Iterator[Service]:
    """Start a service that logs to `folder`/service.log; kill it at the end if it still runs."""
    with Product(folder, environment(folder, database_url, workers=workers, **settings)) as product:
        yield product.start_service(workers=workers)


@contextlib.contextmanager
def serving(folder: Path, database_url: str, *, workers: int = 2, **settings: str) -> Iterator[Service]:
    """Do the same as `starting`, and wait until it is ready."""
    with starting(folder, database_url, workers=workers, **settings) as service:
        service.await_ready()
        yield service


@contextlib.contextmanager
def controlling(folder: Path, database_url: str, **settings: str) -> Iterator[str]:
    """Yield the URL of a controller that is ready."""
    with Product(folder, environment(folder, database_url, workers=1, **settings)) as product:
        controller = product.start_controller()
        controller.await_ready()
        yield controller.url


def add_version(
    folder: Path,
    database_url: str,
    artifact: bytes,
    version: str = "1",
    status: Status = Status.PRODUCTION,
    product: str = "cards",
) -> str:
    """Register a version as an operator does; return its model_id."""
    path = folder / f"{product}-{version}.onnx"
    path.write_bytes(artifact)
    with connect(database_url, name="tests", autocommit=True) as connection:
        store = open_store((folder / "artifacts").as_uri())
        made = register(connection, store, path, Declaration(product, "table", version), actor="tests").version
        if status is Status.PRODUCTION:
            make_production(connection, made.model_id, actor="tests")
        elif status is not Status.STAGING:
            with connection.transaction():
                change_status(connection, made.model_id, status, actor="tests")
    return made.model_id


def person(role: Role = Role.ml_ops) -> str:
    """Return a token of someone with that role."""
    return mint_token(JWT_SECRET, subject="amina", role=role, now=datetime.now(UTC), lifetime=timedelta(hours=1))
