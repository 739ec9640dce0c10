"""Model files, addressed by their sha256 and verified whenever they are read."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from registry.bucket import Bucket
from registry.folder import Folder, rename_durably, temporary_file
from registry.place import (
    AccessDenied,
    ArtifactCorrupt,
    ArtifactError,
    ArtifactMissing,
    ArtifactNotWritten,
    ArtifactStoreUnreachable,
    ArtifactTooLarge,
    Place,
    Progress,
)

__all__ = [
    "AccessDenied",
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactMissing",
    "ArtifactNotWritten",
    "ArtifactStore",
    "ArtifactStoreUnreachable",
    "ArtifactTooLarge",
    "Progress",
    "open_store",
    "sha256_of",
]

TRANSFER_SECONDS = 300.0  # a place that trickles is given up as unreachable


class ArtifactStore:
    """One interface over every place. Methods raise ArtifactError."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def put(self, path: Path, sha256: str, progress: Progress | None = None) -> str:
        """Store a file under its sha256 and give its key; what the place then holds has been read back."""
        key = f"{self._place.prefix}sha256/{sha256}.onnx"
        size_bytes = path.stat().st_size
        if not self._holds(key, sha256, size_bytes):
            self._place.write(path, key, progress or (lambda sent: None))
            if not self._holds(key, sha256, size_bytes):
                raise ArtifactCorrupt(key, f"what was stored does not have sha256 {sha256}")
        return key

    def fetch(self, key: str, sha256: str, size_bytes: int, into: Path) -> Path:
        """The artifact as `into`/<sha256>.onnx, verified; a file that is there and right is not fetched again."""
        target = into / f"{sha256}.onnx"
        if target.is_file() and target.stat().st_size == size_bytes and sha256_of(target) == sha256:
            return target
        try:
            return self._receive(key, size_bytes, into, expected_sha256=sha256)
        except ArtifactTooLarge:
            raise ArtifactCorrupt(key, f"longer than the {size_bytes} bytes that were registered") from None

    def download(self, key: str, max_bytes: int, into: Path) -> Path:
        """An artifact of yet unknown contents, as `into`/<its sha256>.onnx."""
        return self._receive(key, max_bytes, into, expected_sha256=None)

    def _receive(self, key: str, max_bytes: int, into: Path, expected_sha256: str | None) -> Path:
        digest = hashlib.sha256()
        try:
            with temporary_file(into) as partial:
                with partial.open("wb") as file:
                    for chunk in self._chunks(key, max_bytes):
                        digest.update(chunk)
                        file.write(chunk)
                found = digest.hexdigest()
                if expected_sha256 is not None and found != expected_sha256:
                    raise ArtifactCorrupt(key, f"its sha256 is {found}, not {expected_sha256}")
                target = into / f"{found}.onnx"
                rename_durably(partial, target)
                return target
        except OSError as failed:
            raise ArtifactNotWritten(key, into, failed.strerror or type(failed).__name__) from None

    def _holds(self, key: str, sha256: str, size_bytes: int) -> bool:
        digest = hashlib.sha256()
        try:
            for chunk in self._chunks(key, size_bytes):
                digest.update(chunk)
        except (ArtifactMissing, ArtifactTooLarge):
            return False
        return digest.hexdigest() == sha256

    def _chunks(self, key: str, max_bytes: int) -> Iterator[bytes]:
        deadline = time.monotonic() + TRANSFER_SECONDS
        received = 0
        with self._place.read(key) as chunks:
            for chunk in chunks:
                received += len(chunk)
                if received > max_bytes:
                    raise ArtifactTooLarge(key, max_bytes)
                if time.monotonic() > deadline:
                    raise ArtifactStoreUnreachable(key, "the store", f"not done in {TRANSFER_SECONDS:.0f} s")
                yield chunk


def open_store(model_bucket: str) -> ArtifactStore:
    """The store at `s3://bucket/prefix` or `file:///folder` (MODEL_BUCKET)."""
    parts = urlsplit(model_bucket)
    if parts.scheme == "s3":
        return ArtifactStore(Bucket(parts.netloc, parts.path.strip("/")))
    return ArtifactStore(Folder(Path(unquote(parts.path))))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
