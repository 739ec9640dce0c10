"""The memory of a backtest and of an export does not grow with the events that they read."""

from collections.abc import Iterator
from datetime import date
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from archive import closing
from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Folder, Manifest
from archive.parts.part_file import write_part
from archive.plan import CLOSED_AFTER
from lab.benchmarks.backtests.child import ChildRun, run_child
from lab.benchmarks.backtests.copies import copied_rows
from lab.postgres import LocalPostgres
from registry.artifacts import open_backend
from runtime.postgres import Connection, connect
from tests.support import backtested
from tests.support.archived_log import NOW, days_ago
from tests.support.backtested import PRODUCT, RECIPES

LOGGED = 4_000
# More than one row group, and five times as much in one file. Rows of 500 bytes: kept, they would take 130 MiB more.
TIMES = {days_ago(20): 35, days_ago(10): 175}
# What an allocator keeps differs by up to 50 MiB from run to run.
MAX_GROWTH_MIB = 85


@pytest.fixture(scope="module")
def settings(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A database and a bucket with two archived days, the second five times as large as the first."""
    name, folder = "flat_memory", tmp_path_factory.mktemp("flat_memory")
    url, bucket_url = postgres.create_database(name, template="sira_template"), f"file://{folder / 'bucket'}"
    with connect(url, name="tests", autocommit=True) as connection:
        backtested.add_log(connection, bucket_url, LOGGED, days=2)
        add_days(connection, ArchiveBucket(open_backend(bucket_url)), folder)
    yield {"DATABASE_URL": url, "MODEL_BUCKET": bucket_url}
    postgres.drop_database(name)


def add_days(connection: Connection, bucket: ArchiveBucket, folder: Path) -> None:
    closing.run(connection, bucket, now=NOW + CLOSED_AFTER)
    logged = bucket.manifest(Folder("log", PRODUCT, days_ago(2)))
    generator = np.random.default_rng(1)
    with bucket.local(logged.folder, logged.parts[0]) as source:
        for day, times in TIMES.items():
            copies = (copied_rows(source, (days_ago(2) - day).days, generator) for _ in range(times))
            path = folder / "part-00000.parquet"
            part = write_part(path, chain.from_iterable(copies), "created_at", with_index=True)
            assert part is not None
            assert part.rows == times * logged.rows
            bucket.add(Manifest.empty(Folder("log", PRODUCT, day)), part, path, lambda: None)


def growth(runs: list[ChildRun]) -> float:
    few, many = (run.peak_mib for run in runs)
    return many - few


def test_the_memory_of_a_backtest_does_not_grow(settings: dict[str, str]) -> None:
    def replayed(day: date) -> ChildRun:
        words = ["backtest", f"{PRODUCT}/gbm/{RECIPES[1].version}", "--days", "1", "--until", day.isoformat()]
        return run_child([*words, "--processes", "1", "--json"], settings)

    assert growth([replayed(day) for day in TIMES]) < MAX_GROWTH_MIB


def test_the_memory_of_an_export_does_not_grow(settings: dict[str, str], tmp_path: Path) -> None:
    def exported(day: date) -> ChildRun:
        words = ["archive", "export", "--product", PRODUCT, "--from", day.isoformat(), "--to", day.isoformat()]
        return run_child([*words, "--out", str(tmp_path / "train.parquet"), "--json"], settings)

    assert growth([exported(day) for day in TIMES]) < MAX_GROWTH_MIB
