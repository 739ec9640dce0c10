from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.bucket import ArchiveBucket
from registry.artifacts import open_backend
from runtime.postgres import Connection, connect
from tests.conftest import S3
from tests.support.archived_log import days_ago, make_partitions


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection in autocommit mode to a database with partitions for the last forty days."""
    with connect(database_url, name="tests", autocommit=True) as opened:
        make_partitions(opened, days_ago(40), days_ago(0))
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
