"""What a model takes and what it answers: read once at registration, kept as JSON, enforced on every event."""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import msgspec

from registry import RegistryError, printable

Kind = Literal["string", "float", "double", "int32", "int64", "bool"]
Value = bool | int | float | str

FLOATING: frozenset[Kind] = frozenset({"float", "double"})
_INTEGER_BITS: dict[Kind, int] = {"int32": 32, "int64": 64}
LONGEST_NAME = 128
LARGEST_FLOAT = 3.4028234663852886e38  # IEEE 754 binary32


class SignatureInvalid(RegistryError):
    """Every fault of a signature at once."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(printable(fault) for fault in faults)
        super().__init__("signature: " + "; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class Field:
    """One payload field.

    Absent: `default` stands in; without one, a nullable field is the model's missing value (NaN, or "" for a
    string), and any other field is a violation. Null: as absent when nullable, else a violation.
    """

    name: str
    kind: Kind
    nullable: bool = False
    default: Value | None = None
    rank: Literal[1, 2] = 2  # of the field's own input: (n,) or (n, 1); unused when the model takes one tensor

    @property
    def required(self) -> bool:
        return not self.nullable and self.default is None

    @property
    def missing(self) -> Value:
        """What the model sees for an absent field that is not required."""
        if self.default is not None:
            return self.default
        return "" if self.kind == "string" else math.nan

    def faults(self) -> list[str]:
        found = []
        if not 1 <= len(self.name) <= LONGEST_NAME:
            found.append(f"a field name has {len(self.name)} characters, not 1 to {LONGEST_NAME}")
        if not self.name.isprintable():  # neither a terminal nor jsonb takes every character
            found.append(f"field name {self.name} has characters that do not print")
        if isinstance(self.default, str) and not self.default.isprintable():
            found.append(f"the default of {self.name} has characters that do not print")
        if self.default is not None and not fits(self.kind, self.default):
            found.append(f"the default of {self.name} is no {self.kind}")
        if self.nullable and self.default is None and self.kind not in FLOATING | {"string"}:
            found.append(f"{self.name} is nullable, but {self.kind} has no missing value: give it a default")
        return found


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and output of one model version.

    `layout` columns: one input per field, named as the field, shape (n, 1) or (n,). `layout` tensor: one input
    `input_name` of shape (n, len(fields)), type `input_type`, fields in column order.

    The fraud probability is in output `output_name`. `output_layout` probabilities: a tensor (n, 2), column
    `positive`; zipmap: n maps from class label to probability, key `positive`; probability: a tensor (n,) or
    (n, 1), the fraud probability itself, `positive` unused.
    """

    layout: Literal["columns", "tensor"]
    fields: tuple[Field, ...]
    output_name: str
    output_layout: Literal["probabilities", "zipmap", "probability"]
    positive: int | str = 1
    input_name: str | None = None
    input_type: Kind | None = None

    def __post_init__(self) -> None:
        if faults := self._faults():
            raise SignatureInvalid(faults)

    def _faults(self) -> list[str]:
        found = [fault for field in self.fields for fault in field.faults()]
        twice = [name for name, times in Counter(field.name for field in self.fields).items() if times > 1]
        if twice:
            found.append(f"named twice: {', '.join(sorted(twice))}")
        if not self.fields:
            found.append("no field")
        if not (self.output_name.isprintable() and str(self.positive).isprintable()):
            found.append("the output or its positive label has characters that do not print")
        if self.layout == "tensor":
            if self.input_name is None or self.input_type is None:
                found.append("a tensor needs input_name and input_type")
            elif any(field.kind != self.input_type for field in self.fields):
                found.append(f"every field of a {self.input_type} tensor must be {self.input_type}")
        elif self.input_name is not None or self.input_type is not None:
            found.append("one input per field has no input_name and no input_type of its own")
        if self.output_layout == "probabilities" and self.positive not in (0, 1):
            found.append("the positive column of two probabilities is 0 or 1")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values for a jsonb column and for HTTP; from_json reads them back."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises SignatureInvalid."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as invalid:
            raise SignatureInvalid([str(invalid)]) from None


def fits(kind: Kind, value: Value) -> bool:
    """Whether a JSON value is of `kind`: finite when floating, in range when integer; a bool is no number."""
    if kind in ("string", "bool"):
        return isinstance(value, str if kind == "string" else bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind in FLOATING:
        largest = LARGEST_FLOAT if kind == "float" else sys.float_info.max
        return -largest <= value <= largest
    limit = 1 << (_INTEGER_BITS[kind] - 1)
    return isinstance(value, int) and -limit <= value < limit


def warm_up_rows(signature: Signature) -> list[dict[str, Value]]:
    """Payloads every such model must score: all zero, all one, and only what is required."""
    zero: dict[Kind, Value] = {"string": "", "bool": False, "int32": 0, "int64": 0, "float": 0.0, "double": 0.0}
    one: dict[Kind, Value] = {"string": "1", "bool": True, "int32": 1, "int64": 1, "float": 1.0, "double": 1.0}
    return [
        {field.name: zero[field.kind] for field in signature.fields},
        {field.name: one[field.kind] for field in signature.fields},
        {field.name: zero[field.kind] for field in signature.fields if field.required},
    ]
