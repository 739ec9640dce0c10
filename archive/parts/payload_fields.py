"""Payload fields as typed columns."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from registry.signature import MAX_FIELDS, Kind

PREFIX = "field_"
SAMPLE_ROWS = 10_000

_TYPES: dict[Kind, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int64(),
    "int64": pa.int64(),
    "float": pa.float64(),
    "double": pa.float64(),
}
# pyarrow would take true for 1, and 1.5 for the whole number 1.
_MISREAD: dict[pa.DataType, frozenset[type]] = {
    pa.int64(): frozenset({bool, float}),
    pa.float64(): frozenset({bool}),
}
_NOTHING: frozenset[type] = frozenset()
_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode


class PayloadFields:
    """The columns of a day's payload fields, the same in every part. `types` by field name."""

    def __init__(self, types: Mapping[str, pa.DataType]) -> None:
        self._types = dict(types)
        self._values = pa.schema(list(self._types.items()))
        self._schema = pa.schema([(PREFIX + name, of) for name, of in self._types.items()])

    @classmethod
    def of_schema(cls, schema: pa.Schema) -> Self:
        """Return the fields that a part has."""
        return cls({field.name.removeprefix(PREFIX): field.type for field in schema if field.name.startswith(PREFIX)})

    @classmethod
    def of_first_rows(cls, declared: Iterable[tuple[str, Kind]], batch: pa.Table) -> Self:
        """Return the declared fields, and those that the first rows of a day have besides."""
        return cls(field_types(declared, _parse(batch["payload"].slice(0, SAMPLE_ROWS))))

    def added_to(self, batch: pa.Table) -> pa.Table:
        """Return predictions with one more column per field. A value of another type than the column's is null."""
        parts = [self._of_payloads(chunk) for chunk in batch["payload"].chunks]
        fields = pa.Table.from_batches(parts, self._schema)
        return pa.Table.from_arrays([*batch.columns, *fields.columns], schema=pa.schema([*batch.schema, *self._schema]))

    def _of_payloads(self, payloads: pa.Array) -> pa.RecordBatch:
        """Return the fields' columns of payloads: from their text where every value has its column's type."""
        lines = pc.binary_join(pa.ListArray.from_arrays([0, len(payloads)], payloads), "\n")[0].as_buffer()
        try:
            table = json.read_json(
                pa.BufferReader(lines),
                json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
                json.ParseOptions(explicit_schema=self._values, unexpected_field_behavior="ignore"),
            )
        except pa.ArrowInvalid:
            return self._of_values(payloads)
        # A whole number beyond the doubles is infinite here.
        infinite = any(pc.any(pc.is_inf(column)).as_py() for column in table.columns if column.type == pa.float64())
        if infinite or table.num_rows != len(payloads):
            return self._of_values(payloads)
        return pa.record_batch([column.combine_chunks() for column in table.columns], schema=self._schema)

    def _of_values(self, payloads: pa.Array) -> pa.RecordBatch:
        """Return the same column by column, from Python's values."""
        rows = _parse(payloads)
        columns = []
        for name, of in self._types.items():
            values = [row.get(name) for row in rows]
            mixed = not _MISREAD.get(of, _NOTHING).isdisjoint(map(type, values))
            columns.append(_fitting_array(values, of) if mixed else _array(values, of))
        return pa.record_batch(columns, schema=self._schema)


def _parse(payloads: pa.Array | pa.ChunkedArray) -> list[dict[str, Any]]:
    return _decode(f"[{','.join(payloads.to_pylist())}]")


def field_types(declared: Iterable[tuple[str, Kind]], sample: Iterable[Mapping[str, Any]]) -> dict[str, pa.DataType]:
    """Return the type of each column: what signatures declare, then other fields as the sample has them."""
    found: dict[str, set[pa.DataType]] = {}
    for name, kind in declared:
        found.setdefault(name, set()).add(_TYPES[kind])
    types = {name: _common(of) for name, of in sorted(found.items())}
    seen: dict[str, set[pa.DataType]] = {}
    for row in sample:
        for name, value in row.items():
            if value is not None and name not in types:
                seen.setdefault(name, set()).add(_type_of(value))
    others = sorted(seen)[: max(0, MAX_FIELDS - len(types))]
    return types | {name: _common(seen[name]) for name in others}


def _type_of(value: object) -> pa.DataType:
    if isinstance(value, bool):
        return pa.bool_()
    # Whole numbers too: the next day may have fractions.
    return pa.string() if isinstance(value, str) else pa.float64()


def _common(types: set[pa.DataType]) -> pa.DataType:
    if len(types) == 1:
        return next(iter(types))
    return pa.float64() if types == {pa.int64(), pa.float64()} else pa.string()


def _array(values: list[Any], of: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, of)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _fitting_array(values, of)


def _fitting_array(values: list[Any], of: pa.DataType) -> pa.Array:
    return pa.array([_fitting(value, of) for value in values], of)


def _fitting(value: Any, of: pa.DataType) -> Any:
    """Return the value if the column can hold it exactly or, a whole number in a column of doubles, as its nearest."""
    if of == pa.string():
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if of == pa.bool_() and isinstance(value, bool) else None
    if of == pa.int64():
        return value if isinstance(value, int) and -(1 << 63) <= value < 1 << 63 else None
    if of == pa.float64():
        try:
            return float(value)
        except OverflowError:
            return None
    return None
