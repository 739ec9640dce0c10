"""Sums of a backtest that merge in any order to the same result: whole numbers, maxima, and the largest flips."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
import pyarrow as pa

from backtest.errors import TooManyValues
from backtest.tally.flips import ReplayedFlip, largest

SCHEMA = pa.schema([("sums", pa.binary())])
MAX_VALUES = 1_000  # of a segment


@dataclass
class Sums:
    """Counters by name. `arrays`: named lists of counters; `segments`: by field and value, a list of counters."""

    counts: dict[str, int] = field(default_factory=dict)
    maxima: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, list[int]] = field(default_factory=dict)
    segments: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    flips: list[ReplayedFlip] = field(default_factory=list)

    def add(self, other: Self) -> None:
        """Add another's; raises TooManyValues."""
        _add(self.counts, other.counts)
        _add(self.refusals, other.refusals)
        for name, largest_value in other.maxima.items():
            self.maxima[name] = max(largest_value, self.maxima.get(name, largest_value))
        for array, values in other.arrays.items():
            self.arrays[array] = _sum(self.arrays.get(array), values)
        for field_name, segments in other.segments.items():
            known = self.segments.setdefault(field_name, {})
            for value, numbers in segments.items():
                known[value] = _sum(known.get(value), numbers)
            if len(known) > MAX_VALUES:
                raise TooManyValues(field_name, MAX_VALUES)
        self.flips = largest([*self.flips, *other.flips])

    def to_batch(self) -> pa.RecordBatch:
        """Return one row of SCHEMA. JSON, because counters may need more than 64 bits."""
        text = json.dumps({**vars(self), "flips": msgspec.to_builtins(self.flips)})
        return pa.record_batch([pa.array([text.encode()], pa.binary())], schema=SCHEMA)

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch) -> Iterator[Self]:
        """Yield the sums of each row."""
        for text in batch["sums"].to_pylist():
            value: dict[str, Any] = json.loads(text)
            yield cls(**{**value, "flips": msgspec.convert(value["flips"], list[ReplayedFlip])})


def merged(batches: Iterable[pa.RecordBatch]) -> Sums:
    """Return the sum of all rows; raises TooManyValues."""
    total = Sums()
    for batch in batches:
        for sums in Sums.from_batch(batch):
            total.add(sums)
    return total


def _add(to: dict[str, int], values: Mapping[str, int]) -> None:
    for name, value in values.items():
        to[name] = to.get(name, 0) + value


def _sum(one: list[int] | None, other: list[int]) -> list[int]:
    return list(other) if one is None else [a + b for a, b in zip(one, other, strict=True)]
