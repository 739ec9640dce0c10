"""The running build: release and commit from the Bento's description (`make bento`, `make image`) or a checkout."""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Build:
    """`version` is the release, `bento` the Bento's tag; outside a Bento they are `checkout` and `none`."""

    version: str
    commit: str
    bento: str


@cache
def running_build() -> Build:
    """Return the build that this process runs; read once."""
    return build_of(Path(__file__).resolve().parents[1])


def build_of(source: Path) -> Build:
    """Return the build whose packages are in `source`: a Bento's `src` beside its description, or a checkout."""
    description = source.parent / "bento.yaml"
    if source.name != "src" or not description.is_file():
        return Build("checkout", _commit(source), "none")
    bento = yaml.safe_load(description.read_text())
    labels = bento["labels"]
    return Build(labels.get("version", UNKNOWN), labels.get("commit", UNKNOWN), f"{bento['name']}:{bento['version']}")


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
