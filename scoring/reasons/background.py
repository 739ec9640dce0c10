"""The frozen sample of ordinary events that impacts are relative to, and classes of values within it."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import msgspec

from registry.feed import Feed, PayloadInvalid, Row
from registry.model_version import Thresholds
from registry.reference import ReferenceRow, ReferenceRows
from registry.signature import Field, Signature

Source = Literal["reference", "production"]
ValueClass = Literal["missing", "below_all", "low", "middle", "high", "above_all", "common", "rare", "unseen"]

# Fewer rows than these say little about what is ordinary.
MIN_ROWS = 32
# A number is low (high) when at least this share of the background is above (below) it.
_TAIL = 0.75
# Text and truth values that at least this share of the background has are common.
_COMMON = 0.1

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Background:
    """`content` is one canonical payload per line; `sha256` is its digest."""

    sha256: str
    source: Source
    content: str

    @classmethod
    def of(cls, payloads: Iterable[Mapping[str, Any]], source: Source) -> Self:
        """Return the background of these payloads, in an order that does not depend on theirs."""
        content = "\n".join(sorted(_encode(payload).decode() for payload in payloads))
        return cls(hashlib.sha256(content.encode()).hexdigest(), source, content)

    def payloads(self) -> list[dict[str, Any]]:
        return [_decode(line) for line in self.content.split("\n")]

    def rows(self, signature: Signature) -> list[Row]:
        """Return the payloads as a model with this signature reads them; raises PayloadInvalid."""
        feed = Feed(signature)
        return [feed.row(payload) for payload in self.payloads()]


def from_reference(
    reference: ReferenceRows, thresholds: Thresholds, signature: Signature, rows: int
) -> Background | None:
    """Return a background of reference rows that the version allows; None when there are too few of them."""
    ordinary = tuple(row for row in reference.rows if _is_ordinary(row, thresholds))
    if len(ordinary) < min(rows, MIN_ROWS):
        return None
    chosen = ReferenceRows(ordinary).sample(rows).rows
    return Background.of((_taken(row.payload, signature) for row in chosen), "reference")


def from_log(payloads: Iterable[Mapping[str, Any]], signature: Signature, rows: int) -> Background | None:
    """Return a background of `rows` of these payloads, those that the version can read; None when there are fewer."""
    feed, found = Feed(signature), []
    for payload in payloads:
        try:
            feed.row(payload)
        except PayloadInvalid:
            continue
        found.append(_taken(payload, signature))
        if len(found) == rows:
            return Background.of(found, "production")
    return None


def _is_ordinary(row: ReferenceRow, thresholds: Thresholds) -> bool:
    return row.score < thresholds.review and not row.label


def _taken(payload: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    """Return the fields that the version takes: nothing else of an event is kept for longer than the log."""
    return {field.name: payload[field.name] for field in signature.fields if field.name in payload}


class ValueClasses:
    """Says where a value lies within the background, without saying the value."""

    def __init__(self, signature: Signature, rows: Sequence[Row]) -> None:
        columns = zip(*rows, strict=True)
        self._classify = [_classifier(f, column) for f, column in zip(signature.fields, columns, strict=True)]

    def of(self, place: int, value: Any) -> ValueClass:
        """Return the class of a value of the field at `place` of the signature."""
        return self._classify[place](value)


def _classifier(field: Field, column: Sequence[Any]) -> Callable[[Any], ValueClass]:
    if field.kind in ("string", "bool"):
        counts, rows = Counter(column), len(column)
        blank = "" if field.nullable and field.default is None else None

        def categorical(value: Any) -> ValueClass:
            if value == blank and isinstance(value, str):
                return "missing"
            if not counts[value]:
                return "unseen"
            return "common" if counts[value] >= _COMMON * rows else "rare"

        return categorical
    known = sorted(value for value in column if not math.isnan(value))
    if not known:
        return lambda value: "missing" if math.isnan(value) else "unseen"
    tail = math.ceil(_TAIL * len(known))
    least, most, above_low, below_high = known[0], known[-1], known[-tail], known[tail - 1]

    def numeric(value: Any) -> ValueClass:
        if below_high >= value >= above_low:
            return "middle"
        if value < above_low:
            return "low" if value >= least else "below_all"
        if value > below_high:
            return "high" if value <= most else "above_all"
        return "missing"  # every comparison with NaN is false

    return numeric
