import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from lab.postgres import AlreadyRunning, DidNotStart, LocalPostgres
from lab.postgres_binaries import BinariesMissing, postgres_binaries
from runtime.postgres import connect

START_AND_WAIT = """
import sys, time
from pathlib import Path
from lab.postgres import LocalPostgres
print(LocalPostgres.start(Path(sys.argv[1])).url("postgres"), flush=True)
time.sleep(600)
"""


def answers(url: str) -> bool:
    try:
        connect(url, name="tests").close()
    except psycopg.OperationalError:
        return False
    return True


def gone_within(url: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while answers(url):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_second_start_keeps_the_data_the_password_and_the_port(tmp_path: Path) -> None:
    with LocalPostgres.start(tmp_path) as first:
        url = first.create_database("kept")
        with connect(url, name="tests", autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert not answers(url)
    with LocalPostgres.start(tmp_path) as second:
        assert url == second.create_database("kept")
        with connect(url, name="tests") as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_second_owner_is_refused_by_name_and_the_first_goes_on(tmp_path: Path) -> None:
    with LocalPostgres.start(tmp_path, durable=False) as first:
        with pytest.raises(AlreadyRunning, match=r"already running \(pid \d+\): stop its owner first"):
            LocalPostgres.start(tmp_path)
        assert answers(first.url("postgres"))


def test_a_taken_port_is_left_and_another_remembered(tmp_path: Path) -> None:
    with LocalPostgres.start(tmp_path / "a", durable=False) as first:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "port").write_text(str(first.port))
        with LocalPostgres.start(tmp_path / "b", durable=False) as second:
            assert second.port != first.port
            assert (tmp_path / "b" / "port").read_text() == str(second.port)


def test_an_owner_killed_with_minus_9_leaves_no_postgres(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", START_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    assert answers(url)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert gone_within(url, seconds=10)


def test_a_start_right_after_the_owner_was_killed_waits_for_the_old_postgres(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", START_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    with connect(url, name="tests") as busy:
        # Enough to write that the shutdown's checkpoint takes a moment.
        busy.execute("CREATE TABLE filler AS SELECT repeat('x', 500) AS text FROM generate_series(1, 100000)")
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    with LocalPostgres.start(tmp_path) as again:
        assert answers(again.url("postgres"))


def test_no_password_or_a_wrong_one_lets_nobody_in(postgres: LocalPostgres) -> None:
    url = postgres.url("postgres")
    for wrong in (f"postgresql://sira@127.0.0.1:{postgres.port}/postgres", url.replace("@", "x@")):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong, passfile="/dev/null")


def test_only_the_owner_can_read_the_password(postgres: LocalPostgres) -> None:
    assert (postgres.home / "password").stat().st_mode & 0o077 == 0
    assert (postgres.home / "data").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has an identity to drop")
def test_root_runs_postgres_as_nobody_below_folders_that_nobody_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    wheel = postgres_binaries().parents[1]
    shutil.copytree(wheel / "pginstall18", private / "wheel" / "pginstall18", symlinks=True)
    # auditwheel keeps the shared libraries beside the package.
    shutil.copytree(wheel.with_name(f"{wheel.name}.libs"), private / f"{wheel.name}.libs")
    monkeypatch.setattr("lab.postgres.postgres_binaries", lambda: private / "wheel" / "pginstall18" / "bin")
    with LocalPostgres.start(private / "postgres", durable=False) as running:
        pid = int((running.home / "data" / "postmaster.pid").read_text().partition("\n")[0])
        assert Path(f"/proc/{pid}").stat().st_uid != 0
        assert private.stat().st_mode & 0o777 == 0o700


def test_a_half_made_cluster_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "data.unfinished").mkdir()
    (tmp_path / "data.unfinished" / "PG_VERSION").write_text("18")
    with LocalPostgres.start(tmp_path, durable=False) as running:
        assert answers(running.url("postgres"))


def test_a_cluster_of_another_version_is_refused_with_postgres_own_words(tmp_path: Path) -> None:
    LocalPostgres.start(tmp_path, durable=False).stop()
    (tmp_path / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(DidNotStart, match="incompatible"):
        LocalPostgres.start(tmp_path)


def test_without_any_binaries_the_message_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (postgres_binaries() / "psql").is_file()
    monkeypatch.setattr("lab.postgres_binaries.find_spec", lambda name: None)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    with pytest.raises(BinariesMissing, match=r"install requirements\.lock"):
        postgres_binaries()
