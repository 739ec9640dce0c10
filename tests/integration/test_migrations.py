import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from lab.postgres_binaries import postgres_binaries
from migrations import runner
from runtime.postgres import connect

FILES = sorted(runner.FOLDER.glob("[0-9]*.sql"))
FILE = FILES[0]


def psql(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(postgres_binaries() / "psql"), "--no-psqlrc", "-v", "ON_ERROR_STOP=1", url, *words]
    return subprocess.run(command, capture_output=True, text=True)


def migrations(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "migrations", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"DATABASE_URL": url})


def status_of(url: str) -> list[runner.Migration]:
    with connect(url, name="tests") as connection:
        return runner.status(connection)


def schema(url: str) -> list[tuple[str, ...]]:
    """Every column, constraint, index, function, trigger and grant of the public schema, as text."""
    queries = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public'",
        "SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace",
        "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT proname, md5(prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        "SELECT tgrelid::regclass, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT table_name, grantee, privilege_type FROM information_schema.role_table_grants"
        " WHERE table_schema = 'public'",
    )
    with connect(url, name="tests") as connection:
        return sorted(tuple(map(str, row)) for query in queries for row in connection.execute(query).fetchall())


def test_psql_runs_every_file_twice_and_the_second_run_changes_nothing(empty_database_url: str) -> None:
    for file in FILES:
        first = psql(empty_database_url, "-c", f"\\i {file}")
        assert first.returncode == 0, first.stderr
    made = schema(empty_database_url)
    assert made
    for file in FILES:
        second = psql(empty_database_url, "-c", f"\\i {file}")
        assert second.returncode == 0, second.stderr
        assert made == schema(empty_database_url), file.name


def test_the_runbooks_checks_list_tables_and_views(database_url: str) -> None:
    tables = psql(database_url, "-c", "\\dt sira_*").stdout
    for table in (
        "sira_canary_config",
        "sira_canary_rollback_log",
        "sira_predictions",
        "sira_labels",
        "sira_audit_log",
    ):
        assert table in tables
    assert "v_active_models" in psql(database_url, "-c", "\\dv v_*").stdout


def test_up_after_psql_applies_nothing_and_records_the_digest(empty_database_url: str) -> None:
    for file in FILES:
        psql(empty_database_url, "-f", str(file))
    with connect(empty_database_url, name="tests", autocommit=True) as connection:
        assert runner.up(connection) == []
        rows = connection.execute("SELECT version, sha256 FROM sira_migrations").fetchall()
    assert [(m.version, m.sha256) for m in status_of(empty_database_url)] == rows


def test_up_goes_in_order_and_a_second_up_has_nothing_to_do(empty_database_url: str) -> None:
    first = migrations(empty_database_url, "up")
    assert first.returncode == 0, first.stderr
    assert "applying 001_sira_inference" in first.stdout
    assert "nothing to apply" in migrations(empty_database_url, "up").stdout
    assert json.loads(migrations(empty_database_url, "up", "--json").stdout) == {"applied": []}


def test_status_of_an_empty_database_is_pending_and_of_a_migrated_one_applied(
    empty_database_url: str, database_url: str
) -> None:
    pending = json.loads(migrations(empty_database_url, "status", "--json").stdout)
    assert {row["state"] for row in pending} == {"pending"}
    assert "applied" in migrations(database_url, "status").stdout


def test_a_changed_file_and_an_unknown_version_are_both_named_before_anything_runs(
    empty_database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "001_first.sql").write_bytes(FILE.read_bytes().replace(b"001_sira_inference", b"001_first"))
    with connect(empty_database_url, name="tests", autocommit=True) as connection:
        assert runner.up(connection, tmp_path) == ["001_first"]
        connection.execute("INSERT INTO sira_migrations (version) VALUES ('009_from_the_future')")
        with (tmp_path / "001_first.sql").open("a") as file:
            file.write("-- edited\n")
        (tmp_path / "002_second.sql").write_text("CREATE TABLE second ();")
        with pytest.raises(runner.MigrationsDisagree, match=r"001_first.*009_from_the_future"):
            runner.up(connection, tmp_path)
        assert connection.execute("SELECT to_regclass('second')").fetchone() == (None,)


def test_a_failing_migration_leaves_nothing_of_itself(empty_database_url: str, tmp_path: Path) -> None:
    (tmp_path / "001_broken.sql").write_text("BEGIN; CREATE TABLE half (); SELECT no_such_column; COMMIT;")
    with (
        connect(empty_database_url, name="tests", autocommit=True) as connection,
        pytest.raises(psycopg.errors.UndefinedColumn),
    ):
        runner.up(connection, tmp_path)
    with connect(empty_database_url, name="tests") as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_an_unreachable_database_is_one_line_and_exit_1() -> None:
    failed = migrations("postgresql://sira:secret-password@127.0.0.1:1/none", "up")
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    assert "secret-password" not in failed.stderr


def test_help_shows_an_example() -> None:
    assert "python -m migrations up" in migrations("", "--help").stdout
