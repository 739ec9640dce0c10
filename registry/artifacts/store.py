"""The artifact store: one interface over S3 and a folder."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from registry.artifacts.backend import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactNotWritten,
    ArtifactStoreUnreachable,
    ArtifactTooLarge,
    Backend,
    Progress,
)
from registry.artifacts.folder import FolderBackend, rename_durably, temporary_file
from registry.artifacts.s3 import S3Backend

MAX_TRANSFER_SECONDS = 300.0  # a backend that sends slower counts as unreachable


MODEL_SUFFIX = ".onnx"


class ArtifactStore:
    """Stores and fetches artifacts in any backend. Methods raise ArtifactError."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def put(self, path: Path, sha256: str, progress: Progress | None = None, *, suffix: str = MODEL_SUFFIX) -> str:
        """Store a file under its sha256, read it back, and return its key."""
        key = f"{self._backend.prefix}sha256/{sha256}{suffix}"
        size_bytes = path.stat().st_size
        if not self._holds(key, sha256, size_bytes):
            self._backend.write(path, key, progress or (lambda sent: None))
            if not self._holds(key, sha256, size_bytes):
                raise ArtifactCorrupt(key, f"the stored copy does not have sha256 {sha256}")
        return key

    def fetch(self, key: str, sha256: str, size_bytes: int, into: Path, *, suffix: str = MODEL_SUFFIX) -> Path:
        """Return the verified artifact as `into`/<sha256><suffix>; fetch it only if it is not already there."""
        target = into / f"{sha256}{suffix}"
        if target.is_file() and target.stat().st_size == size_bytes and sha256_of(target) == sha256:
            return target
        try:
            return self._receive(key, size_bytes, into, suffix, expected_sha256=sha256)
        except ArtifactTooLarge:
            raise ArtifactCorrupt(key, f"longer than the {size_bytes} bytes that were registered") from None

    def download(self, key: str, max_bytes: int, into: Path, *, suffix: str = MODEL_SUFFIX) -> Path:
        """Return an artifact whose sha256 is not known yet as `into`/<its sha256><suffix>."""
        return self._receive(key, max_bytes, into, suffix, expected_sha256=None)

    def _receive(self, key: str, max_bytes: int, into: Path, suffix: str, expected_sha256: str | None) -> Path:
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
                target = into / f"{found}{suffix}"
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
        deadline = time.monotonic() + MAX_TRANSFER_SECONDS
        received = 0
        with self._backend.read(key) as chunks:
            for chunk in chunks:
                received += len(chunk)
                if received > max_bytes:
                    raise ArtifactTooLarge(key, max_bytes)
                if time.monotonic() > deadline:
                    raise ArtifactStoreUnreachable(
                        key, "the store", f"the transfer took more than {MAX_TRANSFER_SECONDS:.0f} s"
                    )
                yield chunk


def open_store(model_bucket: str) -> ArtifactStore:
    """Return the store at `s3://bucket/prefix` or `file:///folder` (MODEL_BUCKET)."""
    return ArtifactStore(open_backend(model_bucket))


def open_backend(model_bucket: str) -> Backend:
    """Return the bytes by key at `s3://bucket/prefix` or `file:///folder`."""
    parts = urlsplit(model_bucket)
    if parts.scheme == "s3":
        return S3Backend(parts.netloc, parts.path.strip("/"))
    return FolderBackend(Path(unquote(parts.path)))


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
