"""Virtual environments of programs that nobody here wrote: each has a folder with a lock, and packages of its own."""

import hashlib
import subprocess
import sys
from pathlib import Path

from lab.bootstrap import uv_environment


def virtual_environment(folder: Path, venv: Path) -> Path:
    """Return the bin folder of `venv`; install `folder`/requirements.lock first if it is new or has changed.

    Raises subprocess.CalledProcessError, with pip's words in `stderr`, when it cannot be installed.
    """
    lock = folder / "requirements.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = venv / "lock.sha256"
    if not stamp.exists() or stamp.read_text() != digest:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv)], check=True)
        python = str(venv / "bin/python")
        install = ["install", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(lock)]
        # uv takes seconds where pip takes minutes. What it cannot fetch, pip may: it has settings of its own.
        uv = [sys.executable, "-m", "uv", "pip", *install, "--python", python]
        if subprocess.run(uv, env=uv_environment(), capture_output=True).returncode:
            pip = [sys.executable, "-m", "pip", "--python", python, *install]
            subprocess.run(pip, check=True, stderr=subprocess.PIPE, text=True)
        stamp.write_text(digest)
    return venv / "bin"


def lock(folder: Path, command: str) -> None:
    """Resolve `folder`/requirements.in again, by `command`; needs uv on the PATH."""
    options = ["--quiet", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
    options += ["--custom-compile-command", command, "--output-file", "requirements.lock"]
    subprocess.run(["uv", "pip", "compile", "requirements.in", *options], cwd=folder, check=True)
