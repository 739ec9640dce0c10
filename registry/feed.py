"""Between a payload and a model: payload -> row -> ONNX inputs, and ONNX output -> fraud probability.

Inspection, serving and everything that replays use this feed, so a model is served exactly as it was checked.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from registry import RegistryError, printable
from registry.probability import ScoreArray, as_probabilities
from registry.signature import (
    FLOATING,
    MAX_FLOAT,
    MAX_NAME_LENGTH,
    MAX_TEXT_LENGTH,
    Field,
    Kind,
    ModelInputs,
    ModelOutput,
    Signature,
)
from runtime.reading import Violation, closest_name, pointer_part

# Values in the order of the signature's fields. Hashable and canonical: equal rows get equal scores.
Row = tuple[Any, ...]
# One field's rule: name, type, lowest and highest value, zero of its type, whether it may be absent, null, and what
# then stands in. Strings and truth values have no zero.
_Rule = tuple[str, type, float, float, float | None, bool, bool, object]

DTYPES: dict[Kind, type] = {
    "float": np.float32,
    "double": np.float64,
    "int32": np.int32,
    "int64": np.int64,
    "bool": np.bool_,
    "string": np.object_,
}
LIMITS: dict[Kind, tuple[float, float]] = {
    "float": (-MAX_FLOAT, MAX_FLOAT),
    "double": (-sys.float_info.max, sys.float_info.max),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
}
# Each hint compares a name with those that were sent, which a caller may make many.
_MAX_HINTS = 4
# One object, so that rows with a missing value are equal: NaN equals itself only by identity.
_NAN = math.nan


class PayloadInvalid(RegistryError):
    """A payload does not fit the signature. `violations` point into the payload, e.g. `/amount`."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = list(violations)
        super().__init__("; ".join(f"{v.pointer} {v.detail}" for v in violations))


class InputFeed:
    """The input half of a feed, compiled once per model."""

    def __init__(self, inputs: ModelInputs) -> None:
        self._inputs = inputs
        self._plan = [_rule(field) for field in inputs.fields]
        self._tensors: list[tuple[str, type, Any]] = []
        columns: dict[type, list[tuple[int, str, int]]] = {}
        places = [(inputs.input_of(field), place) for place, field in enumerate(inputs.fields)]
        for name, group in groupby(sorted(places), key=itemgetter(0)):
            positions = [place for _, place in group]
            field = inputs.fields[positions[0]]
            dtype = DTYPES[field.kind]
            if inputs.layout == "columns" or (len(positions) == 1 and inputs.layout == "mixed"):
                columns.setdefault(dtype, []).append((positions[0], name, field.rank))
            else:
                whole_row = len(positions) == len(inputs.fields)
                self._tensors.append((name, dtype, None if whole_row else itemgetter(*positions)))
        self._columns = list(columns.items())

    def row(self, payload: Mapping[str, Any]) -> Row:
        """Return the payload's values in field order; raise PayloadInvalid naming every wrong field.

        Numbers become floats (never -0.0) or ints, as the field's kind asks. An absent or null field becomes what its
        signature puts in its place. Payload fields that the model does not take are ignored.
        """
        row: list[Any] = []
        get = payload.get
        for name, wanted, lowest, highest, zero, may_be_absent, may_be_null, missing in self._plan:
            value = get(name)
            of = type(value)
            if of is wanted:
                if zero is not None:
                    if lowest <= value <= highest:  # type: ignore[operator]
                        row.append(value + zero)  # type: ignore[operator]
                        continue
                elif of is bool or len(value) <= MAX_TEXT_LENGTH:  # type: ignore[arg-type]
                    row.append(value)
                    continue
            elif value is None:
                if may_be_null or (may_be_absent and name not in payload):
                    row.append(missing)
                    continue
            elif of is int and wanted is float and lowest <= value <= highest:
                row.append(float(value))
                continue
            raise PayloadInvalid(_violations(self._inputs, payload))
        return tuple(row)

    def column_inputs(self, arrays: Sequence[Any]) -> dict[str, Any]:
        """Return what `inputs` does for n rows whose values are given by field: one (n,) array each."""
        feed: dict[str, Any] = {}
        for name, dtype, part in self._tensors:
            chosen = arrays if part is None else part(arrays)
            feed[name] = np.stack(chosen, axis=1).astype(dtype, copy=False)
        for dtype, columns in self._columns:
            for place, name, rank in columns:
                column = arrays[place].astype(dtype, copy=False)
                feed[name] = column if rank == 1 else column.reshape(-1, 1)
        return feed

    def inputs(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the ONNX inputs of n rows: a (n, 1) or (n,) array per column, a (n, width) array per tensor."""
        feed: dict[str, Any] = {}
        for name, dtype, part in self._tensors:
            feed[name] = np.array(rows if part is None else [part(row) for row in rows], dtype=dtype)
        if self._columns:
            values = list(zip(*rows, strict=True))
            # One array per type, in which each field is a contiguous row: fewer calls than one array per field.
            for dtype, columns in self._columns:
                block: Any = np.array([values[place] for place, _, _ in columns], dtype=dtype)
                for column, (_, name, rank) in zip(block, columns, strict=True):
                    feed[name] = column if rank == 1 else column.reshape(-1, 1)
        return feed


class Feed(InputFeed):
    """Compiled from a signature: what goes into the model, and what comes out of it."""

    def __init__(self, signature: Signature) -> None:
        super().__init__(signature.inputs)
        self._output = signature.output

    def scores(self, value: Any, rows: int) -> ScoreArray:
        """Return the fraud probabilities in the signature's output: (rows,) float64.

        NaN where the model gave no probability (see registry.probability). Raises ValueError, LookupError or
        TypeError when the value has another shape than the signature says.
        """
        return as_probabilities(raw_scores(self._output, value, rows))


def raw_scores(output: ModelOutput, value: Any, rows: int) -> ScoreArray:
    """Return what an output's value holds for the fraud class, as it is: (rows,) float64."""
    if output.layout == "probabilities":
        value = value[:, int(output.positive)]
    elif output.layout == "zipmap":
        positive = output.positive
        value = [probabilities[positive] for probabilities in value]
    return np.asarray(value, dtype=np.float64).reshape(rows)


def missing_value(field: Field) -> object:
    """Return what a row has for an absent or null field that is not required."""
    missing = field.missing
    if isinstance(missing, float) and math.isnan(missing):
        return _NAN
    return float(missing) if field.kind in FLOATING else missing


def _rule(field: Field) -> _Rule:
    wanted: type
    zero: float | None = None
    if field.kind in ("string", "bool"):
        wanted = str if field.kind == "string" else bool
    elif field.kind in ("float", "double"):
        wanted, zero = float, 0.0  # -0.0 + 0.0 is 0.0
    else:
        wanted, zero = int, 0
    lowest, highest = LIMITS.get(field.kind, (0.0, 0.0))
    return field.name, wanted, lowest, highest, zero, not field.required, field.nullable, missing_value(field)


def _violations(inputs: ModelInputs, payload: Mapping[str, Any]) -> list[Violation]:
    found = []
    known = {field.name for field in inputs.fields}
    unknown = [name for name in payload if name not in known]
    hints_left = _MAX_HINTS
    for field in inputs.fields:
        detail = _violation(field, payload)
        if detail is None:
            continue
        if field.name not in payload and unknown and hints_left:
            hints_left -= 1
            detail += _closest_hint(field.name, unknown)
        elif payload.get(field.name, ...) is None and inputs.handles_missing and field.kind in FLOATING:
            detail += f"; if the model was trained with missing values, register it with --nullable {field.name}"
        found.append(Violation(f"/{pointer_part(field.name)}", detail))
    return found


def _closest_hint(name: str, sent: Sequence[str]) -> str:
    closest = closest_name(name, sent)
    return f"; the payload has {printable(closest)[:MAX_NAME_LENGTH]} instead" if closest else ""


def _violation(field: Field, payload: Mapping[str, Any]) -> str | None:
    value = payload.get(field.name)
    if field.name not in payload:
        return "is missing" if field.required else None
    if value is None:
        return None if field.nullable else "must not be null"
    if field.kind == "string":
        if not isinstance(value, str):
            return "must be a string"
        return None if len(value) <= MAX_TEXT_LENGTH else f"must be at most {MAX_TEXT_LENGTH} characters long"
    if field.kind == "bool":
        return None if isinstance(value, bool) else "must be true or false"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    lowest, highest = LIMITS[field.kind]
    if field.kind in ("float", "double"):
        return None if lowest <= value <= highest else f"is out of range for a {field.kind}"
    if not isinstance(value, int):
        return "must be a whole number"
    return None if lowest <= value <= highest else f"is out of range for an {field.kind}"
