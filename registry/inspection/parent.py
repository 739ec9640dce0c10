"""Inspect a model file in a child process, so that no model can hang or crash this one."""

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
from registry.inspection.metadata import ModelMetadata
from registry.inspection.reference_check import DEFAULT_TOLERANCE, Differences
from registry.inspection.reference_file import DEFAULT_SCORE_COLUMN
from registry.signature import Signature

# No secrets; and an allocator that does not reserve more address space than the child may have.
_CHILD_ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    "PYTHONDONTWRITEBYTECODE": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class ModelRefused(RegistryError):
    """Every reason at once."""

    def __init__(self, faults: Sequence[str], differences: Differences | None = None) -> None:
        self.faults = tuple(printable(fault) for fault in faults)
        self.differences = differences
        super().__init__("model refused: " + "; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class InspectionLimits:
    """The largest file, and the processor time of the child process that inspects it."""

    max_bytes: int = 256 << 20
    max_cpu_seconds: int = 60

    def memory_bytes(self, size_bytes: int) -> int:
        """Return the child's address space: 0.2 GiB for the libraries, then several copies of the model."""
        return (1 << 30) + 8 * size_bytes


DEFAULT_LIMITS = InspectionLimits()


@dataclass(frozen=True, slots=True)
class ReferenceRequest:
    """A file of reference rows, the column of expected scores, and how far a score may be off."""

    path: str
    score_column: str = DEFAULT_SCORE_COLUMN
    tolerance: float = DEFAULT_TOLERANCE


@dataclass(frozen=True, slots=True)
class KeptReference:
    """The reference rows to keep, as their artifact's bytes, and how the check of all of them went."""

    content: bytes
    sha256: str
    rows: int
    kept: int
    labelled: int
    tolerance: float
    max_difference: float


@dataclass(frozen=True, slots=True)
class InspectionRequest:
    """The child's input. `declared` overrides the file's metadata."""

    path: str
    declared: ModelMetadata
    reference: ReferenceRequest | None
    max_memory_bytes: int
    max_cpu_seconds: int


@dataclass(frozen=True, slots=True)
class Inspected:
    """The child's findings.

    `thresholds` holds `review`, `block` or both, as they were written. `metadata` names producer and runtime, and
    lists `warnings` about rows that the model cannot score.
    """

    sha256: str
    size_bytes: int
    signature: Signature
    thresholds: dict[str, Any]
    metadata: dict[str, Any]
    reference: KeptReference | None = None


def inspect_model(
    path: Path,
    declared: ModelMetadata | None = None,
    *,
    reference: ReferenceRequest | None = None,
    limits: InspectionLimits = DEFAULT_LIMITS,
) -> Inspected:
    """Read a model, load it, and score its probe rows and reference rows.

    Raises ModelRefused with the reasons; its `differences` say how reference rows differ, if they do.
    """
    try:
        size_bytes = path.stat().st_size
    except OSError as failed:
        raise ModelRefused([f"{path} cannot be read: {failed.strerror}"]) from None
    if size_bytes > limits.max_bytes:
        raise ModelRefused([f"{size_bytes} bytes, over the limit of {limits.max_bytes} (ARTIFACT_MAX_BYTES)"])
    request = InspectionRequest(
        path=str(path.resolve()),
        declared=declared or ModelMetadata(),
        reference=reference,
        max_memory_bytes=limits.memory_bytes(size_bytes) + (_reference_bytes(reference) if reference else 0),
        max_cpu_seconds=limits.max_cpu_seconds * (2 if reference else 1),
    )
    answer = _ask_child(request)
    if "faults" in answer:
        raise ModelRefused(answer["faults"], msgspec.convert(answer.get("differences"), Differences | None))
    return msgspec.convert(answer["inspected"], Inspected)


def _reference_bytes(reference: ReferenceRequest) -> int:
    """Return the address space that reading reference rows takes; raises ModelRefused when there is no such file."""
    try:
        size_bytes = Path(reference.path).stat().st_size
    except OSError as failed:
        raise ModelRefused([f"{reference.path} cannot be read: {failed.strerror}"]) from None
    return (2 << 30) + 16 * size_bytes


def _ask_child(request: InspectionRequest) -> dict[str, Any]:
    too_slow = ModelRefused([f"takes longer than {request.max_cpu_seconds} s to load and score its probe rows"])
    try:
        with tempfile.TemporaryDirectory(prefix="sira-inspect-") as empty:
            done = subprocess.run(
                [sys.executable, "-m", "registry.inspection.child"],
                input=msgspec.json.encode(request),
                capture_output=True,
                timeout=2 * request.max_cpu_seconds,  # wall time: a model may sleep
                cwd=empty,
                env=_CHILD_ENVIRONMENT,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise too_slow from None
    if done.returncode == 0:
        return msgspec.json.decode(done.stdout)  # type: ignore[no-any-return]
    if done.returncode == -signal.SIGXCPU:
        raise too_slow
    ending = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
    raise ModelRefused([f"loading and scoring it crashed the inspection process ({ending})"])
