"""Payloads of one model, read by column: the same rows and canonical texts as event by event.

A msgspec type made from the signature checks a payload in C as `InputFeed.row` checks it value by value: types, ranges,
lengths, and which fields must be there. A payload that it refuses is read alone: it may only have more fields.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from registry.feed import LIMITS, InputFeed, PayloadInvalid, Row, missing_value
from registry.signature import FLOATING, MAX_TEXT_LENGTH, Field, ModelInputs
from scoring.event import REFUSED, canonical, payload_of

_MIN_INT, _MAX_INT = LIMITS["int64"]
_encode_lines = msgspec.json.Encoder().encode_lines


class Payloads(NamedTuple):
    """Those of n payloads that fit a signature: `positions` among the n, rows for its model, and canonical texts."""

    positions: Sequence[int]
    rows: list[Row]
    texts: list[bytes]


class PayloadReader:
    """Compiled once per model. `typed`: None for a signature with names that msgspec does not take."""

    def __init__(self, inputs: ModelInputs) -> None:
        self._feed = InputFeed(inputs)
        # Sorted, as canonical JSON is: the encoder need not sort.
        fields = sorted(inputs.fields, key=lambda field: field.name)
        self._columns = [(fields.index(field), field) for field in inputs.fields]
        self.typed = TypedPayloads(fields) if all(map(_can_be_typed, fields)) else None

    def read(self, payloads: Sequence[msgspec.Raw]) -> Payloads:
        """Return those that fit the signature."""
        if self.typed is not None:
            try:
                typed = self.typed.all(payloads)
                return Payloads(range(len(payloads)), self.rows(typed), texts(typed))
            except REFUSED:
                pass
        return self._one_by_one(payloads)

    def rows(self, typed: Sequence[msgspec.Struct]) -> list[Row]:
        """Return the rows of one or more payloads."""
        values = list(zip(*map(msgspec.structs.astuple, typed), strict=True))
        return list(zip(*[_column(field, values[place]) for place, field in self._columns], strict=True))

    def _one_by_one(self, payloads: Sequence[msgspec.Raw]) -> Payloads:
        typed: dict[int, msgspec.Struct] = {}
        read: dict[int, tuple[Row, bytes]] = {}
        for position, payload in enumerate(payloads):
            if values := self.typed and self.typed.one(payload):
                typed[position] = values
            elif by_itself := self._by_itself(payload):
                read[position] = by_itself
        if typed:
            values_of_all = list(typed.values())
            read |= zip(typed, zip(self.rows(values_of_all), texts(values_of_all), strict=True), strict=True)
        positions = sorted(read)
        return Payloads(positions, [read[p][0] for p in positions], [read[p][1] for p in positions])

    def _by_itself(self, payload: msgspec.Raw) -> tuple[Row, bytes] | None:
        """Return the row and the text of a payload that the type does not take, because it has more fields."""
        try:
            values = payload_of(payload)
            return self._feed.row(values), canonical(values)
        except (*REFUSED, PayloadInvalid):
            return None


class TypedPayloads:
    """Decoders of a type with a member per field; `fields` are sorted by name. They raise what REFUSED names."""

    def __init__(self, fields: Sequence[Field]) -> None:
        names = {f"f{place}": field.name for place, field in enumerate(fields)}
        members = [_member(name, field) for name, field in zip(names, fields, strict=True)]
        kind: Any = msgspec.defstruct(
            "Payload", members, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False
        )
        self._all: Callable[[bytes], list[msgspec.Struct]] = msgspec.json.Decoder(list[kind]).decode
        self._one: Callable[[bytes | msgspec.Raw], msgspec.Struct] = msgspec.json.Decoder(kind).decode

    def all(self, payloads: Sequence[msgspec.Raw]) -> list[msgspec.Struct]:
        # One call takes less time than one per payload.
        return self._all(b"[" + b",".join(payloads) + b"]")

    def one(self, payload: msgspec.Raw) -> msgspec.Struct | None:
        """Return None for a payload that the type refuses."""
        try:
            return self._one(payload)
        except REFUSED:
            return None


def texts(typed: Sequence[msgspec.Struct]) -> list[bytes]:
    """Return the canonical texts of payloads."""
    return _encode_lines(typed).split(b"\n")[:-1]  # no JSON has a line break inside


def _can_be_typed(field: Field) -> bool:
    return '"' not in field.name and "\\" not in field.name  # msgspec takes no such names


def _member(name: str, field: Field) -> Any:
    kind: Any
    if field.kind == "string":
        kind = Annotated[str, Meta(max_length=MAX_TEXT_LENGTH)]
    elif field.kind == "bool":
        kind = bool
    else:
        lowest, highest = LIMITS[field.kind]
        if field.kind in FLOATING:
            # With int, because a whole number stays one in the canonical text.
            kind = Annotated[float, Meta(ge=lowest, le=highest)] | Annotated[int, Meta(ge=_MIN_INT, le=_MAX_INT)]
        else:
            kind = Annotated[int, Meta(ge=lowest, le=highest)]
    if field.nullable:
        kind |= None
    return (name, kind) if field.required else (name, kind | UnsetType, UNSET)


def _column(field: Field, values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a field as `InputFeed.row` does."""
    floating = field.kind in FLOATING
    if field.required:
        return [value + 0.0 for value in values] if floating else values  # -0.0 + 0.0 is 0.0
    missing = missing_value(field)
    if floating:
        return [missing if value is None or value is UNSET else value + 0.0 for value in values]
    return [missing if value is None or value is UNSET else value for value in values]
