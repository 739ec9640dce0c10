"""Create .venv from a lock: `python3 -m lab.bootstrap requirements.lock .venv/.run`. Needs nothing but Python.

`python3 -m lab.bootstrap --seal` records in each lock which dependencies it was made for; `make lock` calls it.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  Before newer imports, so that an old Python can print it.
    found = "%d.%d" % sys.version_info[:2]  # noqa: UP031
    sys.exit("bootstrap: Python 3.11 or newer is needed, not " + found + ": try `make PYTHON=python3.12 ...`")

import hashlib
import json
import os
import re
import subprocess
import tempfile
import tomllib
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path("pyproject.toml")
VENV = Path(".venv")
LOCKS = tuple(Path(f"requirements{name}.lock") for name in ("-image", "-spark", "", "-dev"))
_SEAL = re.compile(r"^# made for pyproject\.toml with dependencies (\w+)\n", re.MULTILINE)
_UV = re.compile(r"^uv==.*(?:\n +--hash=.*)+", re.MULTILINE)
_REQUIREMENT = re.compile(r"^[A-Za-z0-9][\w.-]*==", re.MULTILINE)
# Text in pip's output -> what it means and what to do.
_REMEDIES = {
    "DO NOT MATCH THE HASHES": "a download is not the file that the lock names, and was rejected",
    "No matching distribution": "the package index did not answer, or lacks a package: check the network,"
    " or name yours in PIP_INDEX_URL",
    "No space left": "the disk is full",
}


# A setting of pip -> uv's name for the same, where it has none of its own.
_UV_NAMES = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_EXTRA_INDEX_URL",
    "PIP_CERT": "SSL_CERT_FILE",
}


class BootstrapError(Exception):
    """One line that says what to do."""


def declared_digest(project: Path = PROJECT) -> str:
    """Return a digest of the dependencies in pyproject.toml: it changes only when they do."""
    declared = tomllib.loads(project.read_text())["project"]
    wanted = [declared["requires-python"], declared["dependencies"], declared["optional-dependencies"]]
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]


def seal(lock: Path, digest: str) -> None:
    """Record in a lock the digest of the dependencies it was made for."""
    text = _SEAL.sub("", lock.read_text())
    lock.write_text(f"# made for pyproject.toml with dependencies {digest}\n{text}")


def check_lock(lock: Path, digest: str) -> int:
    """Return the number of packages it pins. Raises BootstrapError if pyproject.toml has changed since."""
    text = lock.read_text()
    sealed = _SEAL.search(text)
    if not sealed or sealed[1] != digest:
        raise BootstrapError(f"{lock} is stale: the dependencies in {PROJECT} have changed; run `make lock`")
    return len(_REQUIREMENT.findall(text))


def make_venv(folder: Path) -> Path:
    """Return the Python of the virtual environment, which is created unless it exists and works."""
    python = folder / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode:
        try:
            venv.create(folder, clear=True, with_pip=True)
        except (subprocess.CalledProcessError, OSError):
            raise BootstrapError(f"{folder} was not created: on Debian, `apt-get install python3-venv`") from None
    return python


def install(python: Path, lock: Path, packages: int) -> None:
    """Install the lock with hashes: by the uv that it names, which pip installs first, or else by pip.

    Raises BootstrapError with the reason of a failure.
    """
    if _install_with_uv(python, lock, packages):
        _compile(python)
    else:
        _install_with_pip(python, lock, packages)


def uv_environment() -> dict[str, str]:
    """Return our environment with pip's settings under uv's names too."""
    given = {ours: os.environ[name] for name, ours in _UV_NAMES.items() if name in os.environ}
    return given | os.environ


def _install_with_uv(python: Path, lock: Path, packages: int) -> bool:
    """Return whether uv has installed it. It compiles no bytecode: all of it would take longer than the rest."""
    pinned = _UV.search(lock.read_text())
    if not pinned:
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".lock") as only_uv:
        only_uv.write(pinned[0] + "\n")
        only_uv.flush()
        if subprocess.run(_pip_command(python, Path(only_uv.name)), capture_output=True).returncode:
            return False
    print(f"  fetching and unpacking {packages} packages", flush=True)
    command = [str(python), "-m", "uv", "pip", "install", "--require-hashes", "--python", str(python), "-r", str(lock)]
    return subprocess.run(command, env=uv_environment(), capture_output=True).returncode == 0


def _compile(python: Path) -> None:
    """Store the bytecode of what the processes import; else several would compile it when they first start.

    The process that inspects models never stores any.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([str(python), "-c", "import service, controller"], env=environment, capture_output=True)


def _install_with_pip(python: Path, lock: Path, packages: int) -> None:
    """Show pip's progress in one line."""
    with subprocess.Popen(
        _pip_command(python, lock), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        assert pip.stdout is not None
        lines = list(_show_progress(pip.stdout, packages))
    if pip.returncode:
        output = "".join(lines)
        remedy = next((remedy for text, remedy in _REMEDIES.items() if text in output), None)
        errors = [line.strip() for line in lines if "ERROR" in line]
        raise BootstrapError(f"{lock} was not installed: {remedy or (errors or ['pip gave no reason'])[-1]}")


def _pip_command(python: Path, lock: Path) -> list[str]:
    command = [str(python), "-m", "pip", "install", "--require-hashes", "--no-input", "--retries", "2"]
    return [*command, "--disable-pip-version-check", "--progress-bar", "off", "-r", str(lock)]


def _show_progress(lines: Iterable[str], packages: int) -> Iterator[str]:
    """Yield pip's lines and show its progress: in place on a terminal, every 25 packages in a log."""
    terminal, seen = sys.stdout.isatty(), 0
    before, after = ("\r\033[K", "") if terminal else ("", "\n")
    for line in lines:
        yield line
        if line.startswith(("Collecting ", "Processing ", "Requirement already satisfied")):
            seen += 1
            if terminal or seen % 25 == 0:
                print(f"{before}  fetching {min(seen, packages)} of {packages} packages", end=after, flush=True)
        elif line.startswith("Installing collected packages"):
            print(f"{before}  unpacking {packages} packages", end=after, flush=True)
    print(before, end="", flush=True)


def main(words: list[str]) -> None:
    digest = declared_digest()
    if words == ["--seal"]:
        for lock in LOCKS:
            seal(lock, digest)
        return
    lock, stamp = map(Path, words)
    packages = check_lock(lock, digest)
    print(f"setting up {VENV} from {lock}: a minute or two, the first time", flush=True)
    install(make_venv(VENV), lock, packages)
    stamp.write_text(f"{lock}\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BootstrapError as error:
        sys.exit(f"bootstrap: {error}")
    except KeyboardInterrupt:
        sys.exit("bootstrap: stopped; the next run continues from here")
