"""Service and controller by themselves, over a database and folders that a test chooses: for what `served` shares."""

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab.faults.process import Process, free_port
from lab.faults.service import Service, ask, wait_until
from registry.artifacts import open_store
from registry.model_version import Status
from registry.registration import Declaration, register
from registry.store import change_status
from runtime.auth import Role, mint_token
from runtime.postgres import connect
from tests.conftest import JWT_SECRET, SERVICE_TOKEN

PREVIOUS_TOKEN = "the-token-before-this-one-of-forty-chars"


def environment(folder: Path, database_url: str, *, workers: int = 2, **settings: str) -> dict[str, str]:
    """All that a process needs, and nothing of what the shell or another test has set."""
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "DATABASE_URL": database_url,
        "MODEL_BUCKET": (folder / "artifacts").as_uri(),
        "MODEL_DIR": str(folder / "models"),
        "SPOOL_DIR": str(folder / "spool"),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_CONFIG_OPTIONS": f"services.sira_inference.workers={workers}",
        "JWT_SECRET": JWT_SECRET,
        "INTERNAL_SERVICE_TOKEN": SERVICE_TOKEN,
        **settings,
    }


def command(port: int) -> list[str]:
    return ["-m", "bentoml", "serve", "service:SiraInference", "--host", "127.0.0.1", "--port", str(port)]


@contextlib.contextmanager
def starting(folder: Path, database_url: str, *, workers: int = 2, **settings: str) -> Iterator[Service]:
    """A service, its log in `folder`/service.log, killed at the end if it still runs."""
    port = free_port()
    variables = environment(folder, database_url, workers=workers, **settings)
    service = Service(Process(command(port), variables, folder / "service.log"), port, Path(variables["SPOOL_DIR"]))
    try:
        yield service
    finally:
        service.process.kill()


@contextlib.contextmanager
def serving(folder: Path, database_url: str, *, workers: int = 2, **settings: str) -> Iterator[Service]:
    """As `starting`, once it is ready."""
    with starting(folder, database_url, workers=workers, **settings) as service:
        service.await_ready()
        yield service


@contextlib.contextmanager
def controlling(folder: Path, database_url: str, **settings: str) -> Iterator[str]:
    """The URL of a controller that is alive."""
    port = free_port()
    variables = environment(folder, database_url, CONTROL_PORT=str(port), **settings)
    process = Process(["-m", "controller"], variables, folder / "controller.log")
    url = f"http://127.0.0.1:{port}"

    def alive() -> bool:
        assert not process.ended(), (folder / "controller.log").read_text()
        with contextlib.suppress(OSError):
            return ask(f"{url}/readyz").status == 200
        return False

    try:
        wait_until(alive, 30, "the controller is alive")
        yield url
    finally:
        process.kill()


def add_version(
    folder: Path,
    database_url: str,
    artifact: bytes,
    version: str = "1",
    status: Status = Status.PRODUCTION,
    product: str = "cards",
) -> str:
    """The model_id of a version, registered as an operator does it."""
    path = folder / f"{product}-{version}.onnx"
    path.write_bytes(artifact)
    with connect(database_url, name="tests", autocommit=True) as connection:
        store = open_store((folder / "artifacts").as_uri())
        made = register(connection, store, path, Declaration(product, "table", version), actor="tests").version
        if status is not Status.STAGING:
            with connection.transaction():
                change_status(connection, made.model_id, status, actor="tests")
    return made.model_id


def person(role: Role = Role.ml_ops) -> str:
    """A token of someone with that role."""
    return mint_token(JWT_SECRET, subject="amina", role=role, now=datetime.now(UTC), lifetime=timedelta(hours=1))
