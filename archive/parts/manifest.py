"""What a day's folder holds: the manifest, its parts, and their names."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Literal, Self, cast, get_args
from urllib.parse import quote, unquote

import msgspec

from archive.errors import ManifestUnreadable

Dataset = Literal["log", "paired", "labels", "reasons"]
DATASETS: tuple[Dataset, ...] = get_args(Dataset)
MANIFEST_NAME = "_manifest.json"
_MANIFEST_KEY = re.compile(
    rf"(?P<kind>[a-z]+)/product=(?P<product>[^/]+)/day=(?P<day>\d{{4}}-\d\d-\d\d)/{re.escape(MANIFEST_NAME)}"
)

Hours = Mapping[int, int]
"""Rows per UTC hour of a day, 0 to 23; an hour without rows is absent."""


class Part(msgspec.Struct, frozen=True):
    """One Parquet file."""

    name: str
    rows: int
    bytes: int
    sha256: str
    hours: dict[int, int]


class Folder(msgspec.Struct, frozen=True):
    """The place of one dataset's day of one product."""

    kind: Dataset
    product: str
    day: date

    def key(self, name: str) -> str:
        """Return the key of a file in this folder, below the bucket's prefix."""
        return f"{self.kind}/product={quote(self.product, safe='')}/day={self.day}/{name}"

    @classmethod
    def of_manifest(cls, key: str) -> Self | None:
        """Return the folder of a manifest's key; None for any other file."""
        found = _MANIFEST_KEY.fullmatch(key)
        if found is None or found["kind"] not in DATASETS:
            return None
        return cls(cast(Dataset, found["kind"]), unquote(found["product"]), date.fromisoformat(found["day"]))


class Manifest(msgspec.Struct, frozen=True):
    """The parts of a folder. What it does not list is not archived."""

    kind: Dataset
    product: str
    day: date
    rows: int = 0
    hours: dict[int, int] = {}
    parts: tuple[Part, ...] = ()
    format: Literal[1] = 1

    @classmethod
    def empty(cls, folder: Folder) -> Self:
        return cls(folder.kind, folder.product, folder.day)

    @classmethod
    def read(cls, key: str, text: bytes) -> Self:
        """Parse a stored manifest; raises ManifestUnreadable."""
        try:
            found = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as invalid:
            raise ManifestUnreadable(key, str(invalid)) from None
        if found.rows != sum(part.rows for part in found.parts) or found.hours != _sum(found.parts):
            raise ManifestUnreadable(key, "its counts are not the sums of its parts")
        return found

    def text(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @property
    def folder(self) -> Folder:
        return Folder(self.kind, self.product, self.day)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def next_name(self) -> str:
        """The name of the next part. A file of that name is what a killed job left, and is replaced."""
        return f"part-{len(self.parts):05d}.parquet"

    def with_part(self, part: Part) -> Self:
        parts = (*self.parts, part)
        return type(self)(self.kind, self.product, self.day, self.rows + part.rows, _sum(parts), parts)


def index_name(part_name: str) -> str:
    """Return the name of a part's index of prediction ids. Readers of Parquet pass over names with an underscore."""
    return f"_{part_name.removesuffix('.parquet')}.ids"


def _sum(parts: tuple[Part, ...]) -> dict[int, int]:
    hours: Counter[int] = Counter()
    for part in parts:
        hours.update(part.hours)
    return dict(sorted(hours.items()))
