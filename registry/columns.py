"""The feed for typed columns: the same model inputs as InputFeed.row and InputFeed.inputs, without a row per event.

A column may lack what the payload has (a value of another type is null in it), so the payload text is read wherever the
columns leave a doubt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.feed import DTYPES, LIMITS, InputFeed, PayloadInvalid, Row
from registry.signature import FLOATING, MAX_TEXT_LENGTH, Field, Kind, ModelInputs
from runtime.reading import Violation

_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode
# The column types that hold every value of a kind exactly as a payload has it. A double column may have been a whole
# number or a fraction, so it does not stand in for an integer.
_HELD_BY: dict[Kind, tuple[pa.DataType, ...]] = {
    "string": (pa.string(),),
    "bool": (pa.bool_(),),
    "int32": (pa.int64(),),
    "int64": (pa.int64(),),
    "float": (pa.float64(), pa.int64()),
    "double": (pa.float64(), pa.int64()),
}


def parse_payloads(payloads: pa.Array) -> list[dict[str, Any]]:
    """Return the payloads of a string column."""
    return _decode(f"[{','.join(payloads.to_pylist())}]")


class ReadEvents:
    """Model inputs of the events that fit the signature. `refused` has the violations of each other event, by place."""

    def __init__(self, inputs: dict[str, Any], fitting: Any, refused: Mapping[int, Sequence[Violation]]) -> None:
        self.inputs = inputs
        self.fitting = fitting
        self.refused = refused


class ColumnFeed:
    """Reads events from columns where they are typed, and from payload text elsewhere; compiled once per model."""

    def __init__(self, inputs: ModelInputs) -> None:
        self._feed = InputFeed(inputs)
        self._fields = inputs.fields
        self._inputs = inputs

    def read(self, payloads: pa.Array, columns: Mapping[str, pa.Array]) -> ReadEvents:
        """Return the inputs of n events. `columns`: some or none of the payload's fields, by name."""
        if not columns:
            return self._from_text(payloads)
        unsure = np.zeros(len(payloads), bool)
        arrays = []
        for field in self._fields:
            array, doubtful = _read_column(field, columns.get(field.name), payloads)
            arrays.append(array)
            unsure |= doubtful
        places = np.flatnonzero(unsure)
        refused: dict[int, Sequence[Violation]] = {}
        if places.size:
            rows, refused = self._rows(payloads.take(pa.array(places)), places.tolist())
            known = [place for place in places.tolist() if place not in refused]
            for array, values in zip(arrays, zip(*rows, strict=True), strict=False):
                array[known] = np.array(values, dtype=array.dtype)
        fitting = np.ones(len(payloads), bool)
        if refused:
            fitting[list(refused)] = False
            arrays = [array[fitting] for array in arrays]
        return ReadEvents(self._feed.column_inputs(arrays), fitting, refused)

    def _from_text(self, payloads: pa.Array) -> ReadEvents:
        rows, refused = self._rows(payloads, range(len(payloads)))
        fitting = np.ones(len(payloads), bool)
        fitting[list(refused)] = False
        return ReadEvents(self._feed.inputs(rows) if rows else {}, fitting, refused)

    def _rows(self, payloads: pa.Array, places: Sequence[int]) -> tuple[list[Row], dict[int, Sequence[Violation]]]:
        rows: list[Row] = []
        refused: dict[int, Sequence[Violation]] = {}
        row_of = self._feed.row
        for place, payload in zip(places, parse_payloads(payloads), strict=True):
            try:
                rows.append(row_of(payload))
            except PayloadInvalid as invalid:
                refused[place] = invalid.violations
        return rows, refused


def _read_column(field: Field, column: pa.Array | None, payloads: pa.Array) -> tuple[Any, Any]:
    """Return the model's values of a field, and where only the payload can say what they are."""
    dtype = DTYPES[field.kind]
    if column is not None and pa.types.is_dictionary(column.type):
        held = column.type.value_type in _HELD_BY[field.kind]
    else:
        held = column is not None and column.type in _HELD_BY[field.kind]
    if not held:
        column = None
    null = np.ones(len(payloads), bool) if column is None else column.is_null().to_numpy(zero_copy_only=False)
    doubtful = _doubtful(field, null, payloads)
    if column is None:
        return np.full(len(payloads), _missing(field), dtype), doubtful
    if field.kind == "string":
        array, too_long = _texts(column, _missing(field))
        return array, doubtful | too_long
    zero: object = False if field.kind == "bool" else 0
    values = column.fill_null(zero).to_numpy(zero_copy_only=False)
    if field.kind == "bool":
        array = values.copy()
    else:
        lowest, highest = LIMITS[field.kind]
        doubtful |= ~((values >= lowest) & (values <= highest))
        if field.kind in FLOATING:
            values = values + 0.0  # -0.0 + 0.0 is 0.0
        with np.errstate(over="ignore"):
            array = values.astype(dtype)
    if null.any():
        array[null] = _missing(field)
    return array, doubtful


def _doubtful(field: Field, null: Any, payloads: pa.Array) -> Any:
    """Return where a null of the column may be a value of another type, or a fault."""
    if field.required:
        return null
    doubtful = np.zeros(len(null), bool)
    places = np.flatnonzero(null)
    if places.size:
        # In a string, the quote before the colon would be escaped: the text can only be the field's name.
        name = msgspec.json.encode(field.name).decode() + ":"
        asked = payloads if places.size == len(null) else payloads.take(pa.array(places))
        present = pc.match_substring(asked, name)
        if field.nullable:
            present = pc.and_not(present, pc.match_substring(asked, name + "null"))
        doubtful[places] = present.to_numpy(zero_copy_only=False)
    return doubtful


def _texts(column: pa.Array, missing: Any) -> tuple[Any, Any]:
    """Return the strings as one Python object per distinct value, and which are longer than a payload may have."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    distinct = np.append(column.dictionary.to_numpy(zero_copy_only=False), np.array([missing], object))
    lengths = pc.utf8_length(column.dictionary).to_numpy(zero_copy_only=False)
    too_long = np.append(lengths > MAX_TEXT_LENGTH, False)
    codes = column.indices.fill_null(len(distinct) - 1).to_numpy(zero_copy_only=False)
    return distinct[codes], too_long[codes]


def _missing(field: Field) -> Any:
    # A required field has no such value: its nulls are read from the payload.
    if not field.required:
        return field.missing
    return {"string": "", "bool": False}.get(field.kind, 0)
