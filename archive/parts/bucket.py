"""Parts and manifests in the bucket, each read back after it is written."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from archive.errors import PartCorrupt
from archive.parts.manifest import DATASETS, MANIFEST_NAME, Dataset, Folder, Manifest, Part, index_name
from archive.parts.range_file import RangeFile
from registry.artifacts import ArtifactMissing
from registry.artifacts.backend import Backend


class ArchiveBucket:
    """The archive in any backend. Methods raise ArtifactError."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def manifest(self, folder: Folder) -> Manifest:
        """Return what is archived of a day; an empty manifest if nothing is."""
        key = self._key(folder, MANIFEST_NAME)
        try:
            with self._backend.read(key) as chunks:
                text = b"".join(chunks)
        except ArtifactMissing:
            return Manifest.empty(folder)
        return Manifest.read(key, text)

    def manifests(self, kind: Dataset | None = None) -> Iterator[Folder]:
        """Yield the folders that have a manifest."""
        for dataset in (kind,) if kind else DATASETS:
            for key in self._backend.keys(f"{self._backend.prefix}{dataset}/"):
                if folder := Folder.of_manifest(key.removeprefix(self._backend.prefix)):
                    yield folder

    def add(self, manifest: Manifest, part: Part, path: Path, still_mine: Callable[[], None]) -> Manifest:
        """Store a part, verify it, then store the manifest that lists it, which is the moment when it counts.

        `still_mine` raises if another process may be archiving by now.
        """
        self._backend.write(path, self._key(manifest.folder, part.name), lambda sent: None)
        index = path.with_name(index_name(path.name))
        if index.exists():
            self._backend.write(index, self._key(manifest.folder, index.name), lambda sent: None)
        self.verify(manifest.folder, part)
        after = manifest.with_part(part)
        still_mine()
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(after.text())
            file.flush()
            self._backend.write(Path(file.name), self._key(manifest.folder, MANIFEST_NAME), lambda sent: None)
        return after

    def verify(self, folder: Folder, part: Part) -> None:
        """Read a part back; raises PartCorrupt if it is not what the manifest says."""
        digest = hashlib.sha256()
        for chunk in self._chunks(folder, part):
            digest.update(chunk)
        if digest.hexdigest() != part.sha256:
            raise PartCorrupt(self._key(folder, part.name), "its sha256 is not the one in the manifest")

    @contextmanager
    def local(self, folder: Folder, part: Part) -> Iterator[Path]:
        """Fetch a part into a temporary file."""
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            digest = hashlib.sha256()
            for chunk in self._chunks(folder, part):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            if digest.hexdigest() != part.sha256:
                raise PartCorrupt(self._key(folder, part.name), "its sha256 is not the one in the manifest")
            yield Path(file.name)

    @contextmanager
    def opened(self, folder: Folder, part: Part) -> Iterator[RangeFile]:
        """Open a part to read some of it; its sha256 is not checked."""
        key = self._key(folder, part.name)
        try:
            yield RangeFile(lambda start, length: self._backend.read_range(key, start, length), part.bytes)
        except ArtifactMissing:
            raise PartCorrupt(key, "the manifest lists it, but it is missing") from None

    def read_index(self, folder: Folder, part: Part, start: int, length: int) -> bytes:
        """Return bytes of a part's index of ids."""
        return self._backend.read_range(self._key(folder, index_name(part.name)), start, length)

    def _chunks(self, folder: Folder, part: Part) -> Iterator[bytes]:
        key = self._key(folder, part.name)
        try:
            with self._backend.read(key) as chunks:
                yield from chunks
        except ArtifactMissing:
            raise PartCorrupt(key, "the manifest lists it, but it is missing") from None

    def _key(self, folder: Folder, name: str) -> str:
        return self._backend.prefix + folder.key(name)
