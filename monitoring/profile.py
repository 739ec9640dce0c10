"""What the fields of a product's events look like: counts per field that merge by addition.

The baseline of a field is what its values looked like when the version was accepted: on its reference rows, or on its
first events. Events are counted against it: how many have no value, one of another type, a category that the baseline
does not know or a number outside its range, and a histogram over the baseline's deciles or categories.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import msgspec
import numpy as np

from registry.signature import Field, Signature

DECILES = tuple(place / 10 for place in range(1, 10))
# Categories of a field that are counted one by one; the rest count together.
MAX_CATEGORIES = 40
# A text field with more different values than this is an identifier: none of its values is "unseen".
MAX_KNOWN = 1_000
OTHER = "*"

LoggedPayload = Mapping[str, Any]


class FieldCounts(msgspec.Struct, frozen=True):
    """Counts of one field over `events`. `bins`: by interval between the deciles, or by category.

    `absent`: the field is not in the payload; `nulls`: it is null; `wrong`: of another type than the field's.
    """

    events: int = 0
    absent: int = 0
    nulls: int = 0
    wrong: int = 0
    unseen: int = 0
    out_of_range: int = 0
    bins: Mapping[str, int] = {}

    def __add__(self, other: "FieldCounts") -> "FieldCounts":
        return FieldCounts(
            self.events + other.events,
            self.absent + other.absent,
            self.nulls + other.nulls,
            self.wrong + other.wrong,
            self.unseen + other.unseen,
            self.out_of_range + other.out_of_range,
            dict(Counter(self.bins) + Counter(other.bins)),
        )


class FieldBaseline(msgspec.Struct, frozen=True):
    """The values of one field that are normal.

    A number has `edges`, ascending, and a range; a text or a truth value has `known` values, None when there are too
    many of them, of which `categories` are counted one by one. `counts` are those of the baseline's own events.
    """

    kind: Literal["number", "category"]
    edges: tuple[float, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    known: tuple[str, ...] | None = None
    categories: tuple[str, ...] = ()
    counts: FieldCounts = FieldCounts()

    @classmethod
    def of(cls, field: Field, payloads: Sequence[LoggedPayload]) -> Self:
        """Return the baseline of a field from payloads of normal events."""
        values = [payload[field.name] for payload in payloads if payload.get(field.name) is not None]
        if field.kind in ("string", "bool"):
            texts = Counter(_text(value) for value in values)
            known = tuple(sorted(texts)) if len(texts) <= MAX_KNOWN else None
            made = cls("category", known=known, categories=tuple(text for text, _ in texts.most_common(MAX_CATEGORIES)))
        else:
            numbers = np.array([float(value) for value in values if _is_number(value)])
            if not len(numbers):
                made = cls("number")
            else:
                edges = tuple(np.unique(np.quantile(numbers, DECILES)).tolist())
                made = cls("number", edges, float(numbers.min()), float(numbers.max()))
        return msgspec.structs.replace(made, counts=count_field(field.name, made, payloads))


Baselines = Mapping[str, FieldBaseline]


def baselines_of(signature: Signature, payloads: Sequence[LoggedPayload]) -> dict[str, FieldBaseline]:
    """Return the baseline of each of a version's fields."""
    return {field.name: FieldBaseline.of(field, payloads) for field in signature.fields}


def count_fields(baselines: Baselines, payloads: Sequence[LoggedPayload]) -> dict[str, FieldCounts]:
    """Count each field over these events."""
    return {name: count_field(name, baseline, payloads) for name, baseline in baselines.items()}


def count_field(name: str, baseline: FieldBaseline, payloads: Iterable[LoggedPayload]) -> FieldCounts:
    events = absent = nulls = wrong = unseen = out_of_range = 0
    bins: Counter[str] = Counter()
    known = None if baseline.known is None else frozenset(baseline.known)
    categories = frozenset(baseline.categories)
    for payload in payloads:
        events += 1
        value = payload.get(name)
        if value is None:
            if name in payload:
                nulls += 1
            else:
                absent += 1
        elif baseline.kind == "category":
            text = _text(value)
            unseen += known is not None and text not in known
            bins[text if text in categories else OTHER] += 1
        elif not _is_number(value):
            wrong += 1
        else:
            bins[str(bisect_right(baseline.edges, value))] += 1
            if baseline.lowest is not None and baseline.highest is not None:
                out_of_range += not baseline.lowest <= value <= baseline.highest
    return FieldCounts(events, absent, nulls, wrong, unseen, out_of_range, dict(bins))


def _text(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
