"""Payloads that try a model where its graph may go wrong: at its thresholds, its categories, its blanks and beyond."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal, TypeVar

import numpy as np

from registry.inspection.probe_values import Category, FieldValues
from registry.signature import FLOATING, MAX_FLOAT, ONE, ZERO, Field, Kind, ModelInputs, Value, fits, warm_up_rows

MAX_PROBE_ROWS = 2_000
_MAX_BLANK_ROWS = 200
_MAX_UNKNOWN_ROWS = 100
_MAX_SINGLE_ROWS = 200
_MAX_SPLIT_ROWS = 1_400
_MAGNITUDES = (0.5, 2.0, 10.0, 1e3, 1e6, 1e9, 1e12)
_UNKNOWN_CATEGORY = "not a category"

Area = Literal["zeros and ones", "thresholds and categories", "blanks", "unknown categories", "magnitudes"]
Payload = dict[str, Value]
_Option = TypeVar("_Option")


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """A payload and why it is there. `fields` are those that `area` is about; none means all."""

    payload: Payload
    area: Area
    fields: tuple[str, ...] = ()

    @property
    def expected(self) -> bool:
        """Return whether live traffic is expected to hold such rows, so that every model must give a probability.

        On other rows a model may raise or answer NaN: an encoder may be built to refuse unknown categories.
        """
        return self.area in ("zeros and ones", "thresholds and categories", "blanks")


def with_examples(inputs: ModelInputs, values: Sequence[FieldValues]) -> ModelInputs:
    """Return the inputs with a known category as the example of each field that has categories."""
    fields = tuple(
        replace(one, example=categories[0] if (categories := _categories(one, found)) else None)
        for one, found in zip(inputs.fields, values, strict=True)
    )
    return replace(inputs, fields=fields)


def probe_rows(inputs: ModelInputs, values: Sequence[FieldValues]) -> list[ProbeRow]:
    """Return at most MAX_PROBE_ROWS rows, the same on every call. `values` are those of `field_values`.

    Each row sets every field, so the number of rows depends on the field with the most values, not on the number of
    fields. A field with more values than there is room for gets them evenly spaced.
    """
    inputs = with_examples(inputs, values)
    rows = [ProbeRow(payload, "zeros and ones") for payload in warm_up_rows(inputs)[:2]]
    base = rows[0].payload
    rows += _blank_rows(inputs, base)
    rows += _unknown_rows(inputs, base, values)
    rows += _magnitude_rows(inputs, base, values)
    return rows + _split_rows(inputs, values, min(_MAX_SPLIT_ROWS, MAX_PROBE_ROWS - len(rows)))


def _split_rows(inputs: ModelInputs, values: Sequence[FieldValues], max_rows: int) -> list[ProbeRow]:
    listed = [
        _spread(_typical(one, found, max_rows), max_rows) for one, found in zip(inputs.fields, values, strict=True)
    ]
    # Each field starts elsewhere in its list, so that fields do not move in step.
    return [
        ProbeRow(
            {
                one.name: options[(number + 7 * place) % len(options)]
                for place, (one, options) in enumerate(zip(inputs.fields, listed, strict=True))
            },
            "thresholds and categories",
        )
        for number in range(max(map(len, listed)))
    ]


def _typical(one: Field, found: FieldValues, max_values: int) -> list[Value]:
    """Return the values that a model knows: the field's categories, or zero, one and what is around its splits."""
    if categories := _categories(one, found):
        return list(categories)
    options: list[Value] = [ZERO[one.kind], ONE[one.kind]]
    if one.kind == "string":
        return options
    return list(dict.fromkeys([*options, *_around(one.kind, _spread(found.thresholds, max_values // 3))]))


def _around(kind: Kind, thresholds: Sequence[float]) -> list[Any]:
    """Return thresholds and their neighbours, sorted, as values of the kind."""
    if kind == "bool":
        return [False, True]
    if kind not in FLOATING:
        near = {math.floor(threshold) + step for threshold in thresholds for step in (-1, 0, 1)}
        return [value for value in sorted(near) if fits(kind, value)]
    with np.errstate(over="ignore"):
        exact = np.array(thresholds, dtype=np.float64)
        single = exact.astype(np.float32)
        parts = [single, *(np.nextafter(single, np.float32(side)) for side in (-np.inf, np.inf))]
    if kind == "double":
        parts += [exact, *(np.nextafter(exact, side) for side in (-np.inf, np.inf))]
    values = np.unique(np.concatenate([part.astype(np.float64) for part in parts]))
    return values[np.abs(values) <= (MAX_FLOAT if kind == "float" else sys.float_info.max)].tolist()  # type: ignore[no-any-return]


def _categories(one: Field, found: FieldValues) -> tuple[Value, ...]:
    typed = (_of_kind(one.kind, category) for category in found.categories)
    return tuple(category for category in typed if category is not None and fits(one.kind, category))


def _of_kind(kind: Kind, category: Category) -> Value | None:
    if kind == "string":
        return category if isinstance(category, str) else None
    if isinstance(category, str) or kind == "bool":
        return None
    return float(category) if kind in FLOATING else int(category)


def _blank_rows(inputs: ModelInputs, base: Payload) -> list[ProbeRow]:
    optional = [one.name for one in inputs.fields if not one.required]
    groups = _groups(optional, _MAX_BLANK_ROWS)
    alone = [ProbeRow({n: v for n, v in base.items() if n not in group}, "blanks", tuple(group)) for group in groups]
    everything = ProbeRow({n: v for n, v in base.items() if n not in optional}, "blanks", tuple(optional))
    return [*alone, everything] if optional else []


def _unknown_rows(inputs: ModelInputs, base: Payload, values: Sequence[FieldValues]) -> list[ProbeRow]:
    unknown = {
        one.name: _unknown(one, categories)
        for one, found in zip(inputs.fields, values, strict=True)
        if (categories := _categories(one, found)) or one.kind == "string"
    }
    return [
        ProbeRow({**base, **{name: unknown[name] for name in group}}, "unknown categories", tuple(group))
        for group in _groups(list(unknown), _MAX_UNKNOWN_ROWS)
    ]


def _unknown(one: Field, categories: Sequence[Value]) -> Value:
    if one.kind == "string":
        candidates = (f"{_UNKNOWN_CATEGORY}{'' if n == 0 else f' {n}'}" for n in count())
        return next(candidate for candidate in candidates if candidate not in categories)
    largest = max(value for value in categories if not isinstance(value, str))
    return largest + 1 if fits(one.kind, largest + 1) else min(v for v in categories if not isinstance(v, str)) - 1


def _magnitude_rows(inputs: ModelInputs, base: Payload, values: Sequence[FieldValues]) -> list[ProbeRow]:
    """Move all numbers together and against each other, so that no weight cancels another, and then each alone."""
    numbers = [
        one
        for one, found in zip(inputs.fields, values, strict=True)
        if one.kind not in ("string", "bool") and not _categories(one, found)
    ]
    rows = []
    for size in _MAGNITUDES:
        for signs in ((1, 1), (-1, -1), (1, -1), (-1, 1)):
            moved = {one.name: _sized(one.kind, size * signs[place % 2]) for place, one in enumerate(numbers)}
            rows.append(ProbeRow({**base, **moved}, "magnitudes"))
    for group in _groups(numbers, _MAX_SINGLE_ROWS // 2):
        for size in (1e6, -1e6):
            moved = {one.name: _sized(one.kind, size) for one in group}
            rows.append(ProbeRow({**base, **moved}, "magnitudes", tuple(moved)))
    return rows if numbers else []


def _sized(kind: Kind, size: float) -> Value:
    if kind in FLOATING:
        return size
    limit = (1 << 31) - 1 if kind == "int32" else (1 << 63) - 1
    return max(-limit, min(limit, int(size)))


def _spread(options: Sequence[_Option], most: int) -> list[_Option]:
    """Return at most `most` options, evenly spaced, the first and the last among them."""
    if len(options) <= most:
        return list(options)
    return [options[round(n * (len(options) - 1) / (most - 1))] for n in range(most)]


def _groups(members: Sequence[Any], most: int) -> list[list[Any]]:
    """Return the members alone, or in at most `most` groups of nearly equal size when there are more of them."""
    return [list(members[start :: min(most, len(members))]) for start in range(min(most, len(members)))]
