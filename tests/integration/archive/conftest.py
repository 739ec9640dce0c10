from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from archive.parts.bucket import ArchiveBucket
from lab.postgres import LocalPostgres
from registry.artifacts import open_backend
from runtime.postgres import Connection, connect
from tests.conftest import S3
from tests.support.archived_log import days_ago, make_partitions


@pytest.fixture(scope="session")
def partitioned(postgres: LocalPostgres) -> str:
    """A database with partitions for the last forty days: to copy them takes a third of the time of making them."""
    name = "sira_partitioned_template"
    with connect(postgres.create_database(name, template="sira_template"), name="tests", autocommit=True) as opened:
        make_partitions(opened, days_ago(40), days_ago(0))
    return name


@pytest.fixture
def database_url(postgres: LocalPostgres, partitioned: str) -> Iterator[str]:
    """A migrated database of the test's own with these partitions, dropped afterwards."""
    name = f"test_{uuid4().hex}"
    yield postgres.create_database(name, template=partitioned)
    postgres.drop_database(name)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection in autocommit mode to that database."""
    with connect(database_url, name="tests", autocommit=True) as opened:
        make_partitions(opened, days_ago(0), days_ago(0))  # of today, if midnight has passed since
        yield opened


@pytest.fixture(params=["folder", "s3"])
def model_bucket(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f"file://{tmp_path / 'bucket'}"
    s3: S3 = request.getfixturevalue("s3")
    return f"{s3.url}/prefix"


@pytest.fixture
def bucket(model_bucket: str) -> ArchiveBucket:
    return ArchiveBucket(open_backend(model_bucket))


@pytest.fixture
def folder_bucket(tmp_path: Path) -> ArchiveBucket:
    return ArchiveBucket(open_backend(f"file://{tmp_path / 'bucket'}"))
