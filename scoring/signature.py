"""A payload becomes a model's input: every violation at once, then one canonical row."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from registry.signature import LARGEST_FLOAT, Field, Kind, Signature
from scoring.event import LONGEST_ID, LONGEST_TEXT, EventRefused, Scalar, Violation

Row = tuple[Any, ...]

_DTYPES: dict[Kind, type] = {
    "float": np.float32,
    "double": np.float64,
    "int32": np.int32,
    "int64": np.int64,
    "bool": np.bool_,
    "string": np.object_,
}
_LARGEST = {"float": LARGEST_FLOAT, "double": sys.float_info.max}
_INTEGER_LIMITS = {"int32": 1 << 31, "int64": 1 << 63}
# One object, so that rows with a missing value are equal: NaN is equal to itself only by identity.
_NAN = math.nan


class PayloadReader:
    """Compiled from a signature: payload -> row of values in field order -> ONNX feed."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._plan = [(f.name, f.kind, _LARGEST.get(f.kind, 0.0), f.required, _missing(f)) for f in signature.fields]
        self._dtype = _DTYPES[signature.fields[0].kind]
        self._places: dict[type, list[int]] = {}
        for place, field in enumerate(signature.fields):
            self._places.setdefault(_DTYPES[field.kind], []).append(place)

    def row(self, payload: dict[str, Scalar]) -> Row:
        """Values in the signature's order, hashable and canonical; raises EventRefused naming every wrong field.

        Numbers become floats (no negative zero) or ints as the model wants them; what is absent becomes the
        field's missing value. Payload fields the model does not take are left out.
        """
        row = []
        for name, kind, limit, required, missing in self._plan:
            value = payload.get(name)
            of = type(value)
            if kind == "float" or kind == "double":
                if of is float:
                    if -limit <= value <= limit:  # type: ignore[operator]
                        row.append(value + 0.0)  # type: ignore[operator]
                        continue
                elif of is int and -limit <= value <= limit:  # type: ignore[operator]
                    row.append(float(value))  # type: ignore[arg-type]
                    continue
            elif kind == "string":
                if of is str and len(value) <= LONGEST_TEXT:  # type: ignore[arg-type]
                    row.append(value)
                    continue
            elif kind == "bool":
                if of is bool:
                    row.append(value)
                    continue
            elif of is int and -_INTEGER_LIMITS[kind] <= value < _INTEGER_LIMITS[kind]:  # type: ignore[operator]
                row.append(value)
                continue
            if value is None and not required and (name not in payload or self._nullable(name)):
                row.append(missing)
                continue
            raise EventRefused(self._violations(payload))
        return tuple(row)

    def feed(self, rows: Sequence[Row]) -> dict[str, Any]:
        """ONNX inputs of n rows: (n, 1) or (n,) a field, or one (n, fields) tensor."""
        if self._signature.input_name is not None:
            return {self._signature.input_name: np.array(rows, dtype=self._dtype)}
        columns = list(zip(*rows, strict=True))
        feed = {}
        # One array a type, of which each field is a contiguous row: fewer calls than an array a field.
        for dtype, places in self._places.items():
            block: Any = np.array([columns[place] for place in places], dtype=dtype)
            for values, place in zip(block, places, strict=True):
                field = self._signature.fields[place]
                feed[field.name] = values if field.rank == 1 else values.reshape(-1, 1)
        return feed

    def _nullable(self, name: str) -> bool:
        return any(field.nullable for field in self._signature.fields if field.name == name)

    def _violations(self, payload: dict[str, Scalar]) -> list[Violation]:
        found = []
        for field in self._signature.fields:
            if detail := _violation(field, payload):
                name = field.name[:LONGEST_ID].replace("~", "~0").replace("/", "~1")
                found.append(Violation(f"/payload/{name}", detail))
        return found


def _missing(field: Field) -> object:
    missing = field.missing
    if isinstance(missing, float) and math.isnan(missing):
        return _NAN
    return float(missing) if field.kind in ("float", "double") else missing


def _violation(field: Field, payload: dict[str, Scalar]) -> str | None:
    value = payload.get(field.name)
    if field.name not in payload:
        return "is missing" if field.required else None
    if value is None:
        return None if field.nullable else "must not be null"
    if field.kind == "string":
        if not isinstance(value, str):
            return "must be a string"
        return None if len(value) <= LONGEST_TEXT else f"must be at most {LONGEST_TEXT} characters long"
    if field.kind == "bool":
        return None if isinstance(value, bool) else "must be true or false"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    if field.kind in ("float", "double"):
        limit = _LARGEST[field.kind]
        return None if -limit <= value <= limit else f"is out of range for a {field.kind}"
    if not isinstance(value, int):
        return "must be a whole number"
    limit = _INTEGER_LIMITS[field.kind]
    return None if -limit <= value < limit else f"is out of range for an {field.kind}"
