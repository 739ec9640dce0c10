"""docs/operations.md, executed: the commands of its sections, as they stand there."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from lab.ports import free_port
from lab.postgres import LocalPostgres
from lab.postgres_binaries import postgres_binaries
from lab.process import Process
from lab.product import SERVICE
from registry import store
from registry.artifacts import open_store
from registry.model_version import Status
from registry.registration import Declaration, register
from runtime.auth import Role, mint_token
from runtime.postgres import Connection, connect
from tests.support.table_model import table_model

ROOT = Path(__file__).parents[2]
PASSWORD = "a-password-of-the-handbook"
KEPT = ("siramodel_registry", "sira_audit_log", "sira_canary_config", "sira_canary_rollback_log", "sira_labels")


def commands(heading: str) -> str:
    """The shell commands of one section of the handbook."""
    text = (ROOT / "docs" / "operations.md").read_text()
    (section,) = re.findall(rf"^##+ {heading}\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert blocks, f"{heading} has no commands"
    return "\n".join(blocks)


def shell(script: str, folder: Path, database_url: str) -> str:
    programs = f"{Path(sys.executable).parent}:{postgres_binaries()}:{os.environ['PATH']}"
    environment = {"PATH": programs, "PYTHONPATH": str(ROOT), "DATABASE_URL": database_url, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(database_url: str, table: str) -> list[tuple[object, ...]]:
    with connect(database_url, name="tests") as connection:
        return connection.execute(
            psycopg.sql.SQL("SELECT * FROM {} ORDER BY 1").format(psycopg.sql.Identifier(table))
        ).fetchall()


AGAIN = "INSERT INTO sira_canary_rollback_log (product, canary_model_id, reason) VALUES ('cards', %(canary)s, 'again')"
HISTORY = """
    INSERT INTO sira_canary_config (product, canary_model_id, production_model_id, canary_percent, status, plan, limits)
    VALUES ('cards', %(canary)s, %(production)s, 10, 'rolled_back', '{}', '{}');
    INSERT INTO sira_canary_rollback_log (product, canary_model_id, reason) VALUES ('cards', %(canary)s, 'errors');
    INSERT INTO sira_labels (product, event_id, label, source, labelled_at)
    VALUES ('cards', 'e', 'fraud', 'chargeback', now());
"""


def fill(connection: Connection, folder: Path) -> None:
    """A registry with a history: two versions, a promotion, a rollout that was rolled back, a label."""
    artifacts = open_store((folder / "artifacts").as_uri())
    ids = []
    for version, scores in (("1", [0.1, 0.2]), ("2", [0.3, 0.4])):
        model = folder / f"{version}.onnx"
        model.write_bytes(table_model(scores))
        registered = register(connection, artifacts, model, Declaration("cards", "table", version), actor="ada")
        ids.append(str(registered.version.model_id))
    with connection.transaction():
        store.change_status(connection, ids[0], Status.PRODUCTION, actor="ada", reason="first")
        values = {"production": ids[0], "canary": ids[1]}
        psycopg.ClientCursor(connection).execute(HISTORY, values)


@pytest.fixture
def filled_url(database_url: str, tmp_path: Path) -> str:
    with connect(database_url, name="tests", autocommit=True) as connection:
        fill(connection, tmp_path)
    return database_url


def test_a_registry_restored_from_its_backup_is_the_same_row_for_row(
    filled_url: str, postgres: LocalPostgres, tmp_path: Path
) -> None:
    kept_head = shell(commands("Back up the registry"), tmp_path, filled_url).strip().splitlines()[-1]
    restored_url = postgres.create_database(f"restored_{os.getpid()}")
    try:
        said = shell(commands("Restore the registry"), tmp_path, restored_url)
        assert kept_head in said
        for table in KEPT:
            assert rows(restored_url, table) == rows(filled_url, table) != []
    finally:
        postgres.drop_database(f"restored_{os.getpid()}")


def test_history_goes_on_after_a_restore(filled_url: str, postgres: LocalPostgres, tmp_path: Path) -> None:
    shell(commands("Back up the registry"), tmp_path, filled_url)
    restored_url = postgres.create_database(f"continued_{os.getpid()}")
    try:
        shell(commands("Restore the registry"), tmp_path, restored_url)
        with connect(restored_url, name="tests", autocommit=True) as connection, connection.transaction():
            waiting = store.find_version(connection, "cards", "table", "2")
            assert waiting is not None
            store.change_status(connection, str(waiting.model_id), Status.PRODUCTION, actor="ada", reason="restored")
            connection.execute(AGAIN, {"canary": waiting.model_id})
        shell("python -m registry audit verify", tmp_path, restored_url)
    finally:
        postgres.drop_database(f"continued_{os.getpid()}")


def test_every_query_of_the_handbook_fits_the_schema(database_url: str) -> None:
    text = (ROOT / "docs" / "operations.md").read_text() + (ROOT / "docs" / "runbook.md").read_text()
    queries = re.findall(r"(?:`|```sql\n)(SELECT [^`]+?);?\n?`", text)
    assert len(queries) > 10
    with connect(database_url, name="tests", autocommit=True) as connection:
        for query in queries:
            connection.execute(psycopg.sql.SQL("EXPLAIN ") + psycopg.sql.SQL(query))


# ------------------------------------------------------------------------------------------------ rotating secrets


@dataclass(frozen=True)
class Secrets:
    """What the Kubernetes secret holds at one step of a rotation."""

    token: str
    previous: str
    jwt: str
    role: str


@dataclass(frozen=True)
class Pod:
    url: str

    def status(self, path: str, token: str, body: object = None) -> int:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def infer(self, token: str) -> int:
        event = {"event_id": "rotated", "product": "cards", "payload": {"amount": 1}}
        return self.status("/v1/infer", token, event)

    def list_models(self, jwt_secret: str) -> int:
        now = datetime.now(UTC)
        return self.status(
            "/v1/models", mint_token(jwt_secret, subject="ada", role=Role.viewer, now=now, lifetime=timedelta(hours=1))
        )


@contextmanager
def restarted(secrets: Secrets, database_url: str, folder: Path) -> Iterator[Pod]:
    """A pod that was started with these secrets, over what the last one left."""
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": re.sub(r"//[^@]+@", f"//{secrets.role}:{PASSWORD}@", database_url),
        "INTERNAL_SERVICE_TOKEN": secrets.token, "INTERNAL_SERVICE_TOKEN_PREVIOUS": secrets.previous,
        "JWT_SECRET": secrets.jwt, "MODEL_BUCKET": (folder / "artifacts").as_uri(), "MODEL_DIR": f"{folder}/models",
        "SPOOL_DIR": f"{folder}/spool", "BENTOML_HOME": f"{folder}/bentoml",
        "BENTOML_CONFIG_OPTIONS": "services.sira_inference.workers=1",
    }  # fmt: skip
    command = [sys.executable, *(word.format(port=port) for word in SERVICE)]
    with Process(command, log=folder / "pod.log", environment=environment) as process:
        process.wait_ready(f"http://127.0.0.1:{port}/readyz", 60)
        yield Pod(f"http://127.0.0.1:{port}")


@pytest.fixture
def login_roles(postgres: LocalPostgres, database_url: str) -> Iterator[None]:
    """`sira_service` with a password and its twin of the handbook; both gone afterwards."""
    with connect(database_url, name="tests", autocommit=True) as connection:
        connection.execute(f"ALTER ROLE sira_service LOGIN PASSWORD '{PASSWORD}'")
        (twin,) = re.findall(
            r"^CREATE ROLE sira_service_b .*$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE
        )
        connection.execute(psycopg.sql.SQL(twin.replace("'...'", f"'{PASSWORD}'")))
        yield
        connection.execute("DROP ROLE sira_service_b; ALTER ROLE sira_service NOLOGIN PASSWORD NULL")


def test_secrets_rotate_without_a_caller_being_refused(filled_url: str, login_roles: None, tmp_path: Path) -> None:
    old, new, old_jwt, new_jwt = "o" * 40, "n" * 40, "j" * 40, "k" * 40
    with restarted(Secrets(old, "", old_jwt, "sira_service"), filled_url, tmp_path) as pod:
        assert (pod.infer(old), pod.infer(new)) == (200, 401)
        assert (pod.list_models(old_jwt), pod.list_models(new_jwt)) == (200, 401)
    with restarted(Secrets(new, old, new_jwt, "sira_service_b"), filled_url, tmp_path) as pod:
        assert (pod.infer(old), pod.infer(new)) == (200, 200)
        assert (pod.list_models(old_jwt), pod.list_models(new_jwt)) == (401, 200)
        # Rows that the first pod answered are there: it shipped them before it went.
        assert rows(filled_url, "sira_predictions")
    with restarted(Secrets(new, "", new_jwt, "sira_service_b"), filled_url, tmp_path) as pod:
        assert (pod.infer(old), pod.infer(new)) == (401, 200)
