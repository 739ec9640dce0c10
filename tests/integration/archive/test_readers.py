"""Other tools read the archive as docs/archive.md shows."""

import re
from pathlib import Path
from typing import Any

import pytest

from archive.parts.bucket import ArchiveBucket
from runtime.postgres import Connection
from tests.support.archived_log import ROOT, add_labels, add_version, at, days_ago, pairs_of, rows_of, run, ship_rows

DAYS = (days_ago(3), days_ago(2))


@pytest.fixture
def archive(
    connection: Connection, folder_bucket: ArchiveBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two days, the second with one more field, a late row and labels; the working folder is the bucket."""
    add_version(connection, "fraud_score", {"amount": "double", "country": "string"})
    payload = '{"amount":7,"country":"FR"}'
    first = rows_of(DAYS[0], 30, product="fraud_score", payload=payload)
    second = rows_of(DAYS[1], 20, product="fraud_score", prefix="s", payload='{"amount":9,"country":"SN","device":"x"}')
    ship_rows(connection, first + second, pairs_of(first[:3]))
    add_labels(connection, "fraud_score", ["e1", "e2", "s1"], at(DAYS[1], 22))
    run(connection, folder_bucket)
    ship_rows(connection, rows_of(DAYS[1], 1, product="fraud_score", prefix="late", payload=payload))
    run(connection, folder_bucket)
    monkeypatch.chdir(tmp_path / "bucket")


def documented(language: str, number: int) -> str:
    """Return a code block of docs/archive.md, with the days of this test."""
    page = (ROOT / "docs/archive.md").read_text()
    block: str = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)[number]
    return block.replace("2026-11-25", str(DAYS[0])).replace("2026-11-26", str(DAYS[1]))


@pytest.mark.usefixtures("archive")
def test_duckdb_reads_all_days_with_one_line() -> None:
    import duckdb

    rows = duckdb.sql(documented("sql", 0)).fetchall()
    assert {(str(day), decision): count for day, decision, count, _ in rows} == {
        (str(DAYS[0]), "allow"): 30,
        (str(DAYS[1]), "allow"): 21,
    }


@pytest.mark.usefixtures("archive")
def test_duckdb_joins_labels() -> None:
    import duckdb

    assert duckdb.sql(documented("sql", 1)).fetchall() == [("fraud", 3)]


@pytest.mark.usefixtures("archive")
def test_pandas_reads_a_day_with_one_line() -> None:
    names: dict[str, Any] = {}
    exec(documented("python", 0), names)
    frame = names["frame"]
    assert len(frame) == 21
    assert sorted(frame["field_amount"].unique()) == [7.0, 9.0]
    assert frame["created_at"].dt.tz is not None
