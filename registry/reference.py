"""The reference rows that are kept with a version: payloads with their expected scores, and labels where given.

They are an artifact of their own: JSON lines, gzip, the same bytes for the same rows, addressed by their sha256. A
serving worker reads them with nothing but the standard library and msgspec.
"""

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import msgspec

from registry import RegistryError
from registry.signature import Value

MAX_KEPT_ROWS = 1_000
LOAD_CHECK_ROWS = 16
REFERENCE_SUFFIX = ".jsonl.gz"

_encode = msgspec.json.Encoder(order="sorted").encode


class Reference(msgspec.Struct, frozen=True):
    """The registry's record of a version's reference check: the kept rows' artifact, and the result.

    `rows` were checked, `kept` of them are stored under `key`; `max_difference` is the largest of all.
    """

    key: str
    sha256: str
    size_bytes: int
    rows: int
    kept: int
    labelled: int
    tolerance: float
    max_difference: float


class ReferenceRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """`score` is the training library's; `label` is true for fraud, None when unknown."""

    payload: dict[str, Value | None]
    score: float
    label: bool | None = None


_decode = msgspec.json.Decoder(ReferenceRow).decode


class ReferenceCorrupt(RegistryError):
    def __init__(self) -> None:
        super().__init__("the kept reference rows cannot be read")


@dataclass(frozen=True, slots=True)
class ReferenceRows:
    """Rows in their order of the file they came from."""

    rows: tuple[ReferenceRow, ...]

    def sample(self, size: int = MAX_KEPT_ROWS) -> Self:
        """At most `size` rows, chosen by the hash of each row: the same ones whatever order the file had."""
        if len(self.rows) <= size:
            return self
        digests = [hashlib.sha256(_encode(row)).digest() for row in self.rows]
        chosen = sorted(sorted(range(len(self.rows)), key=lambda place: (digests[place], place))[:size])
        return type(self)(tuple(self.rows[place] for place in chosen))

    def to_bytes(self) -> bytes:
        return gzip.compress(b"\n".join(_encode(row) for row in self.rows) + b"\n", mtime=0)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Raises ReferenceCorrupt."""
        try:
            rows = tuple(_decode(line) for line in gzip.decompress(content).splitlines())
        except (OSError, EOFError, msgspec.DecodeError, UnicodeDecodeError):
            raise ReferenceCorrupt from None
        if not rows:
            raise ReferenceCorrupt
        return cls(rows)


def spread(rows: Sequence[ReferenceRow], size: int = LOAD_CHECK_ROWS) -> list[ReferenceRow]:
    """`size` rows over the whole range of scores, the lowest and the highest among them."""
    ordered = sorted(rows, key=lambda row: row.score)
    if len(ordered) <= size:
        return ordered
    return [ordered[round(place * (len(ordered) - 1) / (size - 1))] for place in range(size)]
