"""What a model takes and answers: read once at registration, stored as JSON, enforced on every event."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import msgspec

from registry import RegistryError, printable

Kind = Literal["string", "float", "double", "int32", "int64", "bool"]
Value = bool | int | float | str

FLOATING: frozenset[Kind] = frozenset({"float", "double"})
_INTEGER_BITS: dict[Kind, int] = {"int32": 32, "int64": 64}
# The most fields that a model may take and that a payload may hold: 2,048 numbers fit the 64 KiB of a request body.
MAX_FIELDS = 2_048
MAX_BODY_BYTES = 64 << 10  # of POST /v1/infer
MAX_NAME_LENGTH = 128
MAX_TEXT_LENGTH = 1_024
ZERO: dict[Kind, Value] = {"string": "", "bool": False, "int32": 0, "int64": 0, "float": 0.0, "double": 0.0}
ONE: dict[Kind, Value] = {"string": "1", "bool": True, "int32": 1, "int64": 1, "float": 1.0, "double": 1.0}
MAX_FLOAT = 3.4028234663852886e38  # IEEE 754 binary32


class SignatureInvalid(RegistryError):
    """Every fault of a signature at once."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(printable(fault) for fault in faults)
        super().__init__("signature: " + "; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class Field:
    """One payload field.

    An absent field takes `default`. Without a default, a nullable field takes the model's missing value (NaN, or ""
    for a string), and any other field is a violation. Null counts as absent when nullable, else it is a violation.
    """

    name: str
    kind: Kind
    nullable: bool = False
    default: Value | None = None
    rank: Literal[1, 2] = 2  # of the field's own input: (n,) or (n, 1); unused for a column of a tensor
    input: str | None = None  # the model input it is fed to, where that has another name than the field
    example: Value | None = field(default=None, compare=False)  # a category that the model knows, for warm-up

    @property
    def required(self) -> bool:
        return not self.nullable and self.default is None

    @property
    def missing(self) -> Value:
        """The value that the model receives for an absent field that is not required."""
        if self.default is not None:
            return self.default
        return "" if self.kind == "string" else math.nan

    def faults(self) -> list[str]:
        """Return every fault, or nothing."""
        found = []
        if not 1 <= len(self.name) <= MAX_NAME_LENGTH:
            found.append(f"a field name has {len(self.name)} characters, not 1 to {MAX_NAME_LENGTH}")
        if not self.name.isprintable():  # neither a terminal nor jsonb accepts every character
            found.append(f"field name {self.name} has characters that do not print")
        if isinstance(self.default, str) and not self.default.isprintable():
            found.append(f"the default of {self.name} has characters that do not print")
        if self.default is not None and not fits(self.kind, self.default):
            found.append(f"the default of {self.name} is not a valid {self.kind}")
        if self.nullable and self.default is None and self.kind not in FLOATING | {"string"}:
            found.append(f"{self.name} is nullable, but {self.kind} has no missing value: set a default")
        return found


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """The inputs of a model.

    `layout` columns: one input per field, shape (n, 1) or (n,). `layout` tensor: one input `input_name` of shape
    (n, len(fields)) and type `input_type`, fields in column order. `layout` mixed: every field names its `input`;
    fields that name the same one are the columns of a tensor, in order.
    """

    layout: Literal["columns", "tensor", "mixed"]
    fields: tuple[Field, ...]
    input_name: str | None = None
    input_type: Kind | None = None
    handles_missing: bool = field(default=False, compare=False)

    def input_of(self, field: Field) -> str:
        """Return the name of the model input that a field is fed to."""
        if self.input_name is not None:
            return self.input_name
        return field.name if field.input is None else field.input

    def faults(self) -> list[str]:
        """Return every fault, or nothing."""
        found = [fault for field in self.fields for fault in field.faults()]
        if twice := _repeated(field.name for field in self.fields):
            found.append(f"named twice: {', '.join(twice)}")
        if not 1 <= len(self.fields) <= MAX_FIELDS:
            found.append(f"{len(self.fields)} fields, not 1 to {MAX_FIELDS}")
        names_bytes = sum(len(msgspec.json.encode(field.name)) + len(":0,") for field in self.fields if field.required)
        if names_bytes > MAX_BODY_BYTES:
            found.append(
                f"its fields make {names_bytes} bytes of a request, not at most {MAX_BODY_BYTES}: shorten names"
            )
        if self.layout == "tensor":
            if self.input_name is None or self.input_type is None:
                found.append("a tensor needs input_name and input_type")
            elif any(field.kind != self.input_type for field in self.fields):
                found.append(f"every field of a {self.input_type} tensor must be {self.input_type}")
        elif self.input_name is not None or self.input_type is not None:
            found.append(f"layout {self.layout} has no input_name and no input_type of its own")
        if self.layout == "columns" and (twice := _repeated(self.input_of(field) for field in self.fields)):
            found.append(f"more than one field for input {', '.join(twice)}")
        if self.layout == "mixed":
            if any(field.input is None for field in self.fields):
                found.append("every field of layout mixed must name its input")
            kinds = {(field.input, field.kind) for field in self.fields}
            if twice := _repeated(str(name) for name, _ in kinds):
                found.append(f"fields of more than one type for input {', '.join(twice)}")
        return found


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The place of a model's fraud probability: output `name`.

    `layout` probabilities: a tensor (n, 2), column `positive`; zipmap: n maps from class label to probability, key
    `positive`; probability: a tensor (n,) or (n, 1), the fraud probability itself, `positive` unused.
    """

    name: str
    layout: Literal["probabilities", "zipmap", "probability"]
    positive: int | str = 1

    def faults(self) -> list[str]:
        """Return every fault, or nothing."""
        found = []
        if not (self.name.isprintable() and str(self.positive).isprintable()):
            found.append("the output or its positive label has characters that do not print")
        if self.layout == "probabilities" and self.positive not in (0, 1):
            found.append("the positive column of two probabilities must be 0 or 1")
        return found


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and the output of one model version, as stored: the fields of ModelInputs and of ModelOutput."""

    layout: Literal["columns", "tensor", "mixed"]
    fields: tuple[Field, ...]
    output_name: str
    output_layout: Literal["probabilities", "zipmap", "probability"]
    positive: int | str = 1
    input_name: str | None = None
    input_type: Kind | None = None
    # A hint for error messages, and no part of what makes two versions the same.
    handles_missing: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if faults := self.inputs.faults() + self.output.faults():
            raise SignatureInvalid(faults)

    @classmethod
    def of(cls, inputs: ModelInputs, output: ModelOutput) -> Self:
        """Join both halves; raises SignatureInvalid."""
        return cls(
            layout=inputs.layout,
            fields=inputs.fields,
            output_name=output.name,
            output_layout=output.layout,
            positive=output.positive,
            input_name=inputs.input_name,
            input_type=inputs.input_type,
            handles_missing=inputs.handles_missing,
        )

    @property
    def inputs(self) -> ModelInputs:
        return ModelInputs(self.layout, self.fields, self.input_name, self.input_type, self.handles_missing)

    @property
    def output(self) -> ModelOutput:
        return ModelOutput(self.output_name, self.output_layout, self.positive)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a jsonb column and for HTTP; `from_json` reads them back."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` returned, also by an earlier version of this code; raises SignatureInvalid."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as invalid:
            raise SignatureInvalid([str(invalid)]) from None


def fits(kind: Kind, value: Value) -> bool:
    """Return whether a JSON value is of `kind`: finite and in range; a bool is not a number."""
    if kind in ("string", "bool"):
        return isinstance(value, str if kind == "string" else bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind in FLOATING:
        largest = MAX_FLOAT if kind == "float" else sys.float_info.max
        return -largest <= value <= largest
    limit = 1 << (_INTEGER_BITS[kind] - 1)
    return isinstance(value, int) and -limit <= value < limit


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def warm_up_rows(inputs: ModelInputs) -> list[dict[str, Value]]:
    """Return payloads that every model must score: all zero, all one, and only the required fields.

    A field with categories takes one that its model knows.
    """
    zero, one = (
        {f.name: values[f.kind] if f.example is None else f.example for f in inputs.fields} for values in (ZERO, ONE)
    )
    return [zero, one, {f.name: zero[f.name] for f in inputs.fields if f.required}]
