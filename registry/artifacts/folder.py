"""Artifacts in a folder: `file:///folder`, the embedded default."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from registry.artifacts.backend import CHUNK_BYTES, AccessDenied, ArtifactMissing, ArtifactNotWritten, Progress


class FolderBackend:
    """Keys are paths below one folder."""

    prefix = ""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    @contextlib.contextmanager
    def read(self, key: str) -> Iterator[Iterator[bytes]]:
        try:
            file = self._path(key).open("rb")
        except PermissionError:
            raise AccessDenied(key, str(self._root)) from None
        except OSError:
            raise ArtifactMissing(key, str(self._root)) from None
        with file:
            yield iter(lambda: file.read(CHUNK_BYTES), b"")

    def write(self, path: Path, key: str, progress: Progress) -> None:
        target = self._path(key)
        try:
            with temporary_file(target.parent) as partial:
                with path.open("rb") as source, partial.open("wb") as file:
                    shutil.copyfileobj(_Counted(source, progress), file, CHUNK_BYTES)
                rename_durably(partial, target)
        except PermissionError:
            raise AccessDenied(key, str(self._root)) from None
        except OSError as failed:
            raise ArtifactNotWritten(key, self._root, failed.strerror or type(failed).__name__) from None

    def read_range(self, key: str, start: int, length: int) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except PermissionError:
            raise AccessDenied(key, str(self._root)) from None
        except OSError:
            raise ArtifactMissing(key, str(self._root)) from None

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys of all files below a folder, in order."""
        for path in sorted(self._path(prefix).rglob("*")):
            if path.is_file():
                yield str(path.relative_to(self._root))

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root):  # a key may come from a request
            raise ArtifactMissing(key, str(self._root))
        return path


class _Counted:
    """A file that reports how many bytes are read from it."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._progress(len(chunk))
        return chunk


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """Create an empty file in `folder`; remove it at the end unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def rename_durably(source: Path, target: Path) -> None:
    """Rename a file so that after a power cut either the whole file is there or none of it."""
    source.chmod(0o644)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
