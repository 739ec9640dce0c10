"""Each Postgres that is installed here runs the migrations and takes a row of the log; the suite itself runs on 18."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.postgres import LocalPostgres
from lab.postgres_binaries import installed_binaries
from migrations import runner
from monitoring.profiler import Profiler
from registry.artifacts import open_store
from runtime.postgres import connect
from tests.support.log_rows import prediction, ship_rows


def version_of(binaries: Path) -> str:
    printed = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return printed.split()[2].partition(".")[0]


VERSIONS = {version_of(binaries): binaries for binaries in installed_binaries()[1:]}


@pytest.fixture(params=sorted(VERSIONS))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    tmp_path.chmod(0o755)
    with LocalPostgres.start(tmp_path / "postgres", durable=False, binaries=VERSIONS[request.param]) as postgres:
        yield postgres.create_database("sira")


def test_migrations_shipping_and_the_profile_work(database_url: str, tmp_path: Path) -> None:
    with connect(database_url, name="tests", autocommit=True) as connection:
        assert runner.up(connection)
        assert runner.up(connection) == []
        rows = [prediction(f"e{n}") for n in range(100)]
        ship_rows(database_url, rows)
        ship_rows(database_url, rows)
        assert connection.execute("SELECT count(*) FROM sira_predictions").fetchone() == (100,)
        assert Profiler(open_store(f"file://{tmp_path}"), tmp_path).look(connection) == 100
        views = connection.execute("SELECT viewname FROM pg_views WHERE viewname LIKE 'v\\_%'").fetchall()
        assert views
        for (view,) in views:
            connection.execute(f"SELECT * FROM {view}")


def test_an_owner_without_special_rights_may_migrate(database_url: str) -> None:
    with connect(database_url, name="tests", autocommit=True) as administrator:
        administrator.execute("CREATE ROLE plain LOGIN PASSWORD 'x' NOSUPERUSER NOCREATEROLE")
        administrator.execute("CREATE DATABASE plain OWNER plain")
    address = database_url.partition("@")[2].partition("/")[0]
    with connect(f"postgresql://plain:x@{address}/plain", name="tests", autocommit=True) as connection:
        assert runner.up(connection)


def test_another_schema_than_public_is_refused_before_anything_is_made(database_url: str) -> None:
    with connect(database_url, name="tests", autocommit=True) as connection:
        connection.execute("CREATE SCHEMA fraud; SET search_path = fraud")
        with pytest.raises(runner.SchemaUnsupported, match="in schema fraud"):
            runner.up(connection)
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'fraud'").fetchone() == (0,)
