"""What the figures of the archive and of backtests are measured with."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Folder, Manifest
from archive.parts.part_file import write_part
from lab.benchmarks import capacity
from lab.benchmarks.backtests.child import run_child
from lab.benchmarks.backtests.copies import copy_day
from lab.benchmarks.capacity import Archived
from lab.benchmarks.scale.finding import MeasurementFailed
from registry.artifacts import open_backend

ROWS = 1_000
FOLDER = Folder("log", "cards", date(2026, 11, 20))
ARCHIVED = Archived(parquet_bytes=90.0, stored_bytes=100.0, archive_cpu_us=18.0, backtest_cpu_us=7.2)


@pytest.fixture
def bucket(tmp_path: Path) -> ArchiveBucket:
    """An archived day of a thousand rows."""
    at = datetime(2026, 11, 20, 1, tzinfo=UTC)
    table = pa.table(
        {
            "prediction_id": [f"{number:08x}-0000-0000-0000-000000000000" for number in range(ROWS)],
            "created_at": pa.array([at + timedelta(seconds=n) for n in range(ROWS)], pa.timestamp("us", "UTC")),
            "event_id": [f"e{number}" for number in range(ROWS)],
            "payload": [f'{{"amount":{number}}}' for number in range(ROWS)],
        }
    )
    archive = ArchiveBucket(open_backend(f"file://{tmp_path / 'bucket'}"))
    path = tmp_path / "part-00000.parquet"
    part = write_part(path, [table], "created_at", with_index=True)
    assert part is not None
    archive.add(Manifest.empty(FOLDER), part, path, lambda: None)
    return archive


def rows_of(bucket: ArchiveBucket, folder: Folder) -> pa.Table:
    with bucket.local(folder, bucket.manifest(folder).parts[0]) as path:
        return pq.read_table(path)


def test_a_copied_day_has_the_rows_of_the_original_with_other_times_and_ids(bucket: ArchiveBucket) -> None:
    original = rows_of(bucket, FOLDER)
    copied = [rows_of(bucket, folder) for folder in copy_day(bucket, FOLDER, 2, lambda text: None)]
    for days, rows in enumerate(copied, start=1):
        assert rows.schema.equals(original.schema)
        assert rows["payload"] == original["payload"]
        moved = [at - timedelta(days=days) for at in original["created_at"].to_pylist()]
        assert rows["created_at"].to_pylist() == moved
    for name in ("prediction_id", "event_id"):
        ids = np.concatenate([rows[name].to_numpy() for rows in (original, *copied)])
        assert len(set(ids)) == 3 * ROWS


def test_a_copied_day_is_listed_in_a_manifest_of_its_own(bucket: ArchiveBucket) -> None:
    (folder,) = copy_day(bucket, FOLDER, 1, lambda text: None)
    assert folder.day == date(2026, 11, 19)
    assert bucket.manifest(folder).hours == bucket.manifest(FOLDER).hours


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(MeasurementFailed, match="no_such_module"):
        run_child(["no_such_module"], {})


def test_the_memory_and_the_time_of_a_command_are_those_of_its_processes(tmp_path: Path) -> None:
    Path(tmp_path, "large.py").write_text(
        "import subprocess, sys, time\n"
        "if len(sys.argv) > 1:\n"
        "    kept = b'x' * (200 << 20)\n"
        "    while time.process_time() < 0.5: pass\n"
        "else:\n"
        "    subprocess.run([sys.executable, __file__, 'child'])\n"
    )
    found = run_child(["large"], {"PYTHONPATH": str(tmp_path)})
    assert 200 <= found.peak_mib < 300
    assert 0.5 <= found.cpu_seconds < 2
    assert 0 <= found.elsewhere <= 1


def test_what_the_archive_needs_follows_from_bytes_and_processor_time() -> None:
    found = {str(row["a billion per day, archived"]): row[""] for row in capacity.archive_needed(1e9, ARCHIVED)}
    assert found["archived per day, GB"] == 100
    assert found["30 days in S3, GB"] == 3_000
    assert found["30 days in S3, USD per month"] == pytest.approx(69)
    assert found["core-hours to archive a day"] == pytest.approx(5)
    assert found["core-hours of a backtest of 30 days"] == pytest.approx(60)
    assert found["cores for that backtest in one hour"] == 86
