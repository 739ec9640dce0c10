"""Behind a real PgBouncer in transaction mode, the start says what to change."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lab.ports import free_port, is_free
from lab.process import Process
from lab.waiting import wait_until
from runtime.postgres import PoolerInBetween, refuse_pooler
from runtime.settings import Settings

ROOT = Path(__file__).parents[2]
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture
def pooled(database_url: str, tmp_path: Path) -> Callable[[str], str]:
    """`pooled("options")` starts PgBouncer, which ignores these start-up parameters, and returns the URL behind it."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed")
    there, port = urlsplit(database_url), free_port()

    def start(ignored: str) -> str:
        database = there.path.lstrip("/")
        (tmp_path / "users.txt").write_text(f'"{there.username}" "{there.password}"\n')
        (tmp_path / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host={there.hostname} port={there.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n"
            f"auth_file = {tmp_path}/users.txt\npool_mode = transaction\nignore_startup_parameters = {ignored}\n"
        )
        for path in (tmp_path, *tmp_path.parents[:3], *tmp_path.iterdir()):
            path.chmod(0o755)
        return f"postgresql://{there.username}:{there.password}@127.0.0.1:{port}/{database}"

    started = []

    def running(ignored: str) -> str:
        url = start(ignored)
        command = [PGBOUNCER, "--user=nobody", str(tmp_path / "pgbouncer.ini")]
        started.append(Process([str(word) for word in command], log=tmp_path.parent / f"pgbouncer-{port}.log"))
        wait_until(lambda: not is_free(port), 10, "PgBouncer listens")
        return url

    yield running
    for process in started:
        process.terminate(5)


def test_postgres_itself_is_accepted_and_so_is_none_that_answers(database_url: str) -> None:
    refuse_pooler(database_url)
    refuse_pooler(f"postgresql://nobody@127.0.0.1:{free_port()}/none")


@pytest.mark.parametrize("ignored", ["extra_float_digits", "options"])
def test_a_pooler_in_transaction_mode_is_refused(pooled: Callable[[str], str], ignored: str) -> None:
    with pytest.raises(PoolerInBetween, match="connect to Postgres itself"):
        refuse_pooler(pooled(ignored))


def test_the_controller_does_not_start_behind_it(
    pooled: Callable[[str], str], settings: Callable[..., Settings]
) -> None:
    settings(database_url=pooled("options"))
    command = [sys.executable, "-m", "controller"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith("controller: DATABASE_URL leads through a pooler")
