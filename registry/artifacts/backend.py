"""What an artifact backend does, and its errors."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from registry import RegistryError

Progress = Callable[[int], None]
"""Called with the bytes sent since the last call."""

CHUNK_BYTES = 1 << 20


class ArtifactError(RegistryError):
    """An artifact cannot be stored or fetched; `key` names it."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(f"artifact {key}: {message}")


class ArtifactMissing(ArtifactError):
    def __init__(self, key: str, backend: str) -> None:
        super().__init__(key, f"not in {backend}; check MODEL_BUCKET and the key")


class ArtifactCorrupt(ArtifactError):
    def __init__(self, key: str, fault: str) -> None:
        super().__init__(key, f"{fault}; store the file again")


class ArtifactTooLarge(ArtifactError):
    def __init__(self, key: str, max_bytes: int) -> None:
        super().__init__(key, f"larger than {max_bytes} bytes (ARTIFACT_MAX_BYTES)")


class ArtifactStoreUnreachable(ArtifactError):
    def __init__(self, key: str, backend: str, cause: str) -> None:
        super().__init__(key, f"{backend} does not answer ({cause}); try again when it does")


class ArtifactNotWritten(ArtifactError):
    def __init__(self, key: str, folder: Path, cause: str) -> None:
        super().__init__(key, f"cannot be written to {folder} ({cause}); check its free space and mode")


class AccessDenied(ArtifactError):
    def __init__(self, key: str, backend: str) -> None:
        super().__init__(key, f"{backend} refuses access; check AWS_* and their permissions, or the folder's mode")


class Backend(Protocol):
    """Bytes by key. `prefix` starts every key that is written. Methods raise ArtifactError."""

    prefix: str

    def read(self, key: str) -> AbstractContextManager[Iterator[bytes]]: ...

    def write(self, path: Path, key: str, progress: Progress) -> None: ...

    def read_range(self, key: str, start: int, length: int) -> bytes: ...

    def keys(self, prefix: str) -> Iterator[str]: ...
