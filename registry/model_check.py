"""Whether a file may become a model version: asked of a child process, so that no model can hang or kill this one."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from registry import RegistryError, printable
from registry.signature import Signature

_ROOT = Path(__file__).resolve().parent.parent


class ModelRefused(RegistryError):
    """Every reason at once."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(printable(fault) for fault in faults)
        super().__init__("model refused: " + "; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a model may take: of a disk, and of a child's memory and processor to open and try it."""

    max_bytes: int = 256 << 20
    max_cpu_seconds: int = 60

    def memory_bytes(self, size_bytes: int) -> int:
        # onnx and onnxruntime take 0.2 GiB of address space by themselves, then a few copies of the model.
        return (1 << 30) + 8 * size_bytes


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Request:
    """What the child is asked; `features` and `positive` as in registration.Declaration."""

    path: str
    features: tuple[str, ...] | None
    positive: str | None
    max_memory_bytes: int
    max_cpu_seconds: int


@dataclass(frozen=True, slots=True)
class Checked:
    """What the child read. `thresholds` is the text of sira.thresholds, `metadata` who made and who opened the file."""

    sha256: str
    size_bytes: int
    signature: Signature
    thresholds: str | None
    metadata: dict[str, Any]


def check_model(
    path: Path,
    *,
    features: tuple[str, ...] | None = None,
    positive: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Checked:
    """Read, load and try a model; raises ModelRefused with the reasons."""
    try:
        size_bytes = path.stat().st_size
    except OSError as failed:
        raise ModelRefused([f"{path} cannot be read: {failed.strerror}"]) from None
    if size_bytes > limits.max_bytes:
        raise ModelRefused([f"{size_bytes} bytes, over the limit of {limits.max_bytes} (ARTIFACT_MAX_BYTES)"])
    request = Request(
        path=str(path.resolve()),
        features=features,
        positive=positive,
        max_memory_bytes=limits.memory_bytes(size_bytes),
        max_cpu_seconds=limits.max_cpu_seconds,
    )
    answer = _ask_child(request)
    if "faults" in answer:
        raise ModelRefused(answer["faults"])
    return msgspec.convert(answer["checked"], Checked)


def _ask_child(request: Request) -> dict[str, Any]:
    too_slow = ModelRefused([f"takes longer than {request.max_cpu_seconds} s to load and score three rows"])
    try:
        with tempfile.TemporaryDirectory(prefix="sira-check-") as empty:
            done = subprocess.run(
                [sys.executable, "-m", "registry.onnx_check"],
                input=msgspec.json.encode(request),
                capture_output=True,
                timeout=2 * request.max_cpu_seconds,  # of the clock, for a model that sleeps
                cwd=empty,
                env={"PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},  # no secret of ours
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise too_slow from None
    if done.returncode == 0:
        return msgspec.json.decode(done.stdout)  # type: ignore[no-any-return]
    if done.returncode == -signal.SIGXCPU:
        raise too_slow
    ending = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
    raise ModelRefused([f"loading and scoring it ended the process that tried ({ending})"])
