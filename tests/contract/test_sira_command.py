"""The command `sira`, installed as a wheel beside the locked packages and called in an empty folder."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lab.ports import free_port
from lab.process import Process

ROOT = Path(__file__).parents[2]
Sira = Callable[..., "subprocess.CompletedProcess[str]"]
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "build", "dist", "*.egg-info")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which `pip install .` puts the product, without its dependencies."""
    source, target = tmp_path_factory.mktemp("source") / "sira", tmp_path_factory.mktemp("site-packages")
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input", "--target", str(target)]
    done = subprocess.run([*pip, str(source)], capture_output=True, text=True, timeout=240)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("the package index does not have setuptools, which builds the wheel")
    assert done.returncode == 0, done.stderr
    return target


def files(folder: Path, tops: list[str]) -> set[str]:
    """Return the relative paths of these files, and of all files in these folders, without compiled ones."""
    found = [path for top in tops for path in (folder / top, *(folder / top).rglob("*"))]
    return {str(path.relative_to(folder)) for path in found if path.is_file() and path.suffix != ".pyc"}


def test_the_wheel_holds_every_file_of_the_bento(installed: Path) -> None:
    included = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    tops = [pattern.strip("/").removesuffix("/**") for pattern in included]
    assert files(installed, tops) == files(ROOT, tops)


@pytest.fixture
def sira(installed: Path, tmp_path: Path, database_url: str) -> Sira:
    """`sira("model", "list")` runs the installed script in an empty folder."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "DATABASE_URL": database_url}

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        script = [sys.executable, str(installed / "bin" / "sira"), *words]
        return subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)

    return run


def test_the_help_lists_the_processes_and_the_tools(sira: Sira) -> None:
    shown = sira("--help").stdout
    for word in (
        "serve",
        "controller",
        "migrate",
        "model",
        "canary",
        "archive",
        "control-group",
        "backtest",
        "audit",
        "token",
        "completion",
    ):
        assert f"\n  {word} " in shown


def test_an_example_begins_with_the_installed_command(sira: Sira) -> None:
    assert "sira canary stop fraud_score" in sira("canary", "stop", "--help").stdout
    assert "python -m" not in sira("model", "promote", "--help").stdout


def test_it_migrates_and_lists_as_the_modules_do(sira: Sira) -> None:
    migrated = json.loads(sira("migrate", "status", "--json").stdout)
    assert {one["state"] for one in migrated} == {"applied"}
    assert json.loads(sira("model", "list", "--json").stdout)["models"] == []
    assert sira("audit", "verify").stdout.startswith("intact: ")


def test_exit_codes_tell_a_refusal_from_wrong_usage(sira: Sira) -> None:
    refused = sira("canary", "show", "nothing")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert sira("canary", "show").returncode == 2
    assert sira("nothing").returncode == 2


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_each_shell_gets_a_completion_script(sira: Sira, shell: str) -> None:
    assert "_SIRA_COMPLETE" in sira("completion", shell).stdout


@pytest.mark.parametrize("words", [("serve", "--host", "127.0.0.1", "--port"), ("controller",)])
def test_it_starts_the_processes_from_an_empty_folder(
    installed: Path, tmp_path: Path, database_url: str, words: tuple[str, ...]
) -> None:
    port = free_port()
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(installed),
        "DATABASE_URL": database_url,
        "CONTROL_PORT": str(port),
        "MODEL_BUCKET": f"file://{tmp_path}/artifacts",
        "MODEL_DIR": str(tmp_path / "models"),
        "SPOOL_DIR": str(tmp_path / "spool"),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "JWT_SECRET": "j" * 64,
        "INTERNAL_SERVICE_TOKEN": "s" * 64,
    }
    port_word = (str(port),) if words[-1] == "--port" else ()
    command = [sys.executable, str(installed / "bin" / "sira"), *words, *port_word]
    with Process(command, log=tmp_path / "log", environment=environment, cwd=home) as process:
        process.wait_ready(f"http://127.0.0.1:{port}/readyz", 60)
