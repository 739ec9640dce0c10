"""docs/operations.md, executed: the commands of its sections, as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from registry import store
from registry.artifacts import open_store
from registry.model_version import Status
from registry.registration import Declaration, register
from runtime.local import LocalPostgres, postgres_binaries
from runtime.postgres import Connection, connect
from tests.table_model import table_model

ROOT = Path(__file__).parents[2]
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
