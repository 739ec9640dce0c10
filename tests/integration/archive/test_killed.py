"""kill -9 of the archiving process at random moments: no row is lost or doubled between Postgres and Parquet."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archive.parts.bucket import ArchiveBucket
from runtime.postgres import Connection
from tests.support.archived_log import ROOT, add_labels, at, days_ago, pairs_of, rows, rows_of, ship_rows

# `make archive-kills` sets more.
KILLS = int(os.environ.get("ARCHIVE_KILLS", "4"))
ROWS = int(os.environ.get("ARCHIVE_KILL_ROWS", "6000"))


def start(database_url: str, model_bucket: str, temporary: Path) -> "subprocess.Popen[bytes]":
    """Archive with parts of 500 rows, and drop what is older than 31 days."""
    code = (
        "from archive import plan, closing; plan.plan_parts.__defaults__ = (500,);"
        "from archive.cli.commands import archive; archive()"
    )
    environment = os.environ | {"DATABASE_URL": database_url, "MODEL_BUCKET": model_bucket, "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", "--json", "--drop-older-than", "31"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
    )


@pytest.mark.timeout(3600)
def test_no_row_is_lost_or_doubled(
    connection: Connection, database_url: str, model_bucket: str, bucket: ArchiveBucket, tmp_path: Path
) -> None:
    generator = random.Random(os.environ.get("ARCHIVE_KILL_SEED", "7"))
    logged = [row for ago in (33, 2) for row in rows_of(days_ago(ago), ROWS // 2, prefix=f"d{ago}-")]
    ship_rows(connection, logged, pairs_of(logged[::20]))
    add_labels(connection, "cards", [row.event_id for row in logged[::100]], at(days_ago(2), 13))
    # How long an undisturbed process takes differs between machines: one that ended in time shortens the next wait.
    longest = 2.5
    killed = attempts = 0
    while killed < KILLS and attempts < 5 * KILLS:
        number, attempts = attempts, attempts + 1
        process = start(database_url, model_bucket, tmp_path)
        time.sleep(generator.uniform(0.2, longest))
        ended = process.poll() is not None
        killed += not ended
        longest = max(0.4, 0.8 * longest) if ended else longest
        process.kill()
        process.communicate()
        late = rows_of(days_ago(2), 24, prefix=f"late{number}-")
        ship_rows(connection, late)
        logged += late
        _wait_for_the_lock(connection)
    process = start(database_url, model_bucket, tmp_path)
    assert json.loads(process.communicate()[0])["dropped"] >= 0
    assert process.returncode == 0
    assert killed == KILLS

    archived = [row["prediction_id"] for row in rows(bucket)]
    assert len(archived) == len(set(archived))
    assert set(archived) == {row.prediction_id for row in logged}
    pairs = [row["prediction_id"] for row in rows(bucket, "paired")]
    assert sorted(pairs) == sorted(row.prediction_id for row in logged[: ROWS // 2 * 2 : 20])
    assert len(rows(bucket, "labels")) == len(logged[: ROWS // 2 * 2 : 100])
    left = connection.execute("SELECT min(day) FROM sira_predictions").fetchone()
    assert left == (days_ago(2),)


def _wait_for_the_lock(connection: Connection) -> None:
    """Wait until Postgres has noticed that the killed process is gone."""
    deadline = time.monotonic() + 30
    while connection.execute(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'sira-archive' AND datname = current_database()"
    ).fetchone():
        assert time.monotonic() < deadline
        time.sleep(0.05)
