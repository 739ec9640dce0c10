"""What goes into the Bento and the image: our packages, their SQL, locked pins, and nothing else."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
PACKAGES = [
    "archive",
    "backtest",
    "canary",
    "console",
    "edge",
    "migrations",
    "monitoring",
    "registry",
    "runtime",
    "scoring",
    "sira",
]


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Bento built by the command that `make bento` runs."""
    home = tmp_path_factory.mktemp("bentoml")
    built = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--label", "commit=abc123", "--output", "tag"],
        cwd=REPOSITORY, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    name, version = built.stdout.strip().splitlines()[-1].removeprefix("__tag__:").split(":")
    return home / "bentos" / name / version


@pytest.fixture(scope="module")
def description(bento: Path) -> dict[str, Any]:
    read = yaml.safe_load((bento / "bento.yaml").read_text())
    assert isinstance(read, dict)
    return read


def source_files(*packages: str) -> set[str]:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *packages],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name for name in tracked.stdout.splitlines() if (REPOSITORY / name).exists()}


def test_the_bento_holds_every_file_of_our_packages_and_no_other(bento: Path) -> None:
    packed = {str(path.relative_to(bento / "src")) for path in (bento / "src").rglob("*") if path.is_file()}
    expected = source_files(*PACKAGES, "service.py", "controller.py")
    assert packed - {"bentofile.yaml"} == expected


def test_the_sql_is_packed(bento: Path) -> None:
    assert (bento / "src" / "migrations" / "001_sira_inference.sql").exists()
    assert (bento / "src" / "scoring" / "log" / "queries.sql").exists()


def test_the_bento_says_which_commit_it_is(description: dict[str, Any]) -> None:
    assert description["name"] == "sira_inference"
    assert description["labels"]["commit"] == "abc123"


def test_the_bento_reports_home_to_nobody(description: dict[str, Any]) -> None:
    environment = {variable["name"]: variable["value"] for variable in description["envs"]}
    assert (environment["ORT_DISABLE_TELEMETRY"], environment["BENTOML_DO_NOT_TRACK"]) == ("1", "True")


def test_every_requirement_is_pinned_with_its_hash(bento: Path) -> None:
    text = (bento / "env" / "python" / "requirements.txt").read_text().replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(requirements) > 50
    # BentoML adds itself a second time, at the same pin and without a hash.
    unpinned = [line for line in requirements if not re.match(r"\S+==\S+ .*--hash=sha256:", line)]
    assert [line.split(";")[0].strip() for line in unpinned] in ([], [f"bentoml=={_locked_bentoml()}"])


def _locked_bentoml() -> str:
    locked = re.search(r"^bentoml==(\S+)", (REPOSITORY / "requirements-image.lock").read_text(), re.MULTILINE)
    assert locked
    return locked[1]


def test_both_ways_to_an_image_start_from_one_base_and_bring_curl(bento: Path) -> None:
    generated = (bento / "env" / "docker" / "Dockerfile").read_text()
    ours = (REPOSITORY / "Dockerfile").read_text()
    for dockerfile in (generated, ours):
        assert re.search(r"^FROM (?:docker.io/library/)?python:3\.11-slim", dockerfile, re.MULTILINE)
        assert re.search(r"apt-get install .*\bcurl\b", dockerfile)


def test_the_image_sets_what_the_bento_asks_for(description: dict[str, Any]) -> None:
    final_stage = (REPOSITORY / "Dockerfile").read_text().split("\nFROM ")[-1]
    for variable in description["envs"]:
        assert f"{variable['name']}={variable['value']}" in final_stage
    assert re.search(r"^USER 1034:1034$", final_stage, re.MULTILINE)
    assert re.search(r"^EXPOSE 8080 3000$", final_stage, re.MULTILINE)


def test_the_builder_is_sent_what_the_bento_includes_and_nothing_else() -> None:
    included = {
        path.strip("/").removesuffix("/**")
        for path in yaml.safe_load((REPOSITORY / "bentofile.yaml").read_text())["include"]
    }
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert set(allowed) == included | {"bentofile.yaml", "requirements-image.lock", "requirements-spark.lock"}


def test_the_service_listens_on_8080() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", "import service; print(service.SiraInference.config['http']['port'])"],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert printed.stdout.strip() == "8080", printed.stderr
