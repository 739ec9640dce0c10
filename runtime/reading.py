"""Read decoded JSON into msgspec types, naming every fault by its place, and never a value."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from itertools import islice
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

T = TypeVar("T")

MAX_VIOLATIONS = 50
_MAX_POINTER_PART = 128
_MAX_CANDIDATES = 64
_MAX_COMPARED_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Violation:
    """`pointer` is a JSON pointer into what was sent, such as `/payload/amount`; neither part holds a value."""

    pointer: str
    detail: str


class InputInvalid(ValueError):
    """`violations` names every fault, up to MAX_VIOLATIONS."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        found = list(islice(violations, MAX_VIOLATIONS + 1))
        if len(found) > MAX_VIOLATIONS:
            found[MAX_VIOLATIONS] = Violation("", "and there may be more")
        self.violations = found
        super().__init__("; ".join(f"{v.pointer}: {v.detail}" if v.pointer else v.detail for v in found))


def read(kind: type[T], raw: object, *, strict: bool = True) -> T:
    """Return decoded JSON as `kind`: a msgspec struct, a scalar, or a list, dict or tuple[X, ...] of these.

    A struct may have a static method `check(fields)` that yields violations between its fields; it gets those that
    could be read. `Meta(extra={"expected": "must be ..."})` words the fault of a field. `strict=False` also reads
    numbers and truth values from text. Raises InputInvalid.
    """
    reader = _Reader(strict)
    value: T = reader.read(kind, raw, "")
    if reader.violations:
        raise InputInvalid(reader.violations)
    return value


class _Reader:
    """Reads what it can and collects violations; stops descending when there are too many to report."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self.violations: list[Violation] = []

    def read(self, kind: Any, raw: object, pointer: str) -> Any:
        bare, metas = _without_annotations(kind)
        if get_origin(bare) in (Union, UnionType):
            bare, metas = _alternative(bare, raw, metas)
        if isinstance(raw, dict) and _is_struct(bare):
            return self._struct(bare, raw, pointer)
        origin = get_origin(bare) or bare
        if isinstance(raw, dict) and origin is dict:
            return self._dict(bare, raw, pointer) if self._fits(bare, metas, len(raw), pointer) else None
        if isinstance(raw, list) and origin in (list, tuple):
            item = (get_args(bare) or (Any,))[0]
            if not self._fits(bare, metas, len(raw), pointer):
                return None
            return origin(raw if _without_annotations(item)[0] is Any else self._items(item, raw, pointer))
        return self._scalar(kind, raw, pointer)

    def _struct(self, kind: type[msgspec.Struct], raw: dict[str, Any], pointer: str) -> Any:
        before = len(self.violations)
        known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        if kind.__struct_config__.forbid_unknown_fields:
            for name in sorted(raw.keys() - known.keys()):
                self._add(f"{pointer}/{pointer_part(name)}", _no_such_field(name, known.keys() - raw.keys()))
        fields: dict[str, Any] = {}
        for name, field in known.items():
            place = f"{pointer}/{name}"
            if name in raw:
                count = len(self.violations)
                value = self.read(field.type, raw[name], place)
                if len(self.violations) == count or (isinstance(raw[name], list) and value is not None):
                    fields[field.name] = value
            elif field.required:
                self._add(place, "is missing")
        check: Callable[[Mapping[str, Any]], Iterator[Violation]] | None = getattr(kind, "check", None)
        for violation in check(fields) if check else ():
            self._add(pointer + violation.pointer, violation.detail)
        return kind(**fields) if len(self.violations) == before else None

    def _dict(self, kind: Any, raw: dict[str, Any], pointer: str) -> dict[str, Any]:
        _, item = get_args(kind) or (str, Any)
        for name in raw:
            if "\0" in name:
                self._add(f"{pointer}/{pointer_part(name)}", "must not contain a NUL character")
        return {name: self.read(item, value, f"{pointer}/{pointer_part(name)}") for name, value in raw.items()}

    def _items(self, kind: Any, raw: list[Any], pointer: str) -> Iterator[Any]:
        """The items that could be read."""
        for position, item in enumerate(raw):
            count = len(self.violations)
            value = self.read(kind, item, f"{pointer}/{position}")
            if len(self.violations) == count:
                yield value
            elif count > MAX_VIOLATIONS:
                return

    def _scalar(self, kind: Any, raw: object, pointer: str) -> Any:
        if isinstance(raw, str) and "\0" in raw:
            self._add(pointer, "must not contain a NUL character")
            return None
        try:
            return msgspec.convert(raw, kind, strict=self._strict)
        except msgspec.ValidationError:
            self._add(pointer, expected(kind))
            return None

    def _fits(self, kind: Any, metas: tuple[Meta, ...], length: int, pointer: str) -> bool:
        for meta in metas:
            if length < (meta.min_length or 0) or (meta.max_length is not None and length > meta.max_length):
                self._add(pointer, expected(Annotated[kind, *metas]))
                return False
        return True

    def _add(self, pointer: str, detail: str) -> None:
        self.violations.append(Violation(pointer, detail))


def expected(kind: Any) -> str:
    """Return what a value of this type must be: `must be a number from 0 to 100`."""
    bare, metas = _without_annotations(kind)
    for meta in metas:
        if meta.extra and "expected" in meta.extra:
            return str(meta.extra["expected"])
    if get_origin(bare) in (Union, UnionType):
        words = [expected(member) for member in get_args(bare) if member is not NoneType]
        return words[0] + "".join(f" or {word.removeprefix('must be ')}" for word in words[1:])
    return "must be " + _noun(bare) + "".join(_limits(bare, meta) for meta in metas)


def _noun(kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return _choice(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choice([member.value for member in kind])
    nouns = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
    return nouns.get(origin, "a list" if origin is tuple else "an object")


def _choice(values: Iterable[object]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}" if most else last


def _limits(kind: Any, meta: Meta) -> str:
    if meta.min_length is not None or meta.max_length is not None:
        unit = {str: "characters", list: "items", tuple: "items"}.get(get_origin(kind) or kind, "fields")
        return f" of {_span(meta.min_length, meta.max_length)} {unit}"
    low = "" if meta.gt is None else f" above {_number(meta.gt)}"
    if meta.ge is not None and meta.le is not None:
        return f" from {_number(meta.ge)} to {_number(meta.le)}"
    low = low or ("" if meta.ge is None else f" of at least {_number(meta.ge)}")
    high = "" if meta.le is None else f" of at most {_number(meta.le)}"
    return f"{low} and{high.replace(' of', '')}" if low and high else low + high


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _span(low: int | None, high: int | None) -> str:
    if high is None:
        return f"at least {low:,}"
    return f"at most {high:,}" if low is None else f"{low:,} to {high:,}"


def _without_annotations(kind: Any) -> tuple[Any, tuple[Meta, ...]]:
    if get_origin(kind) is Annotated:
        bare, *metas = get_args(kind)
        return bare, tuple(meta for meta in metas if isinstance(meta, Meta))
    return kind, ()


def _alternative(union: Any, raw: object, metas: tuple[Meta, ...]) -> tuple[Any, tuple[Meta, ...]]:
    """Return the member of a union that an object or a list can only be meant for; else the union itself."""
    members = [_without_annotations(member) for member in get_args(union)]
    fitting = [member for member in members if _may_be(member[0], raw)]
    return fitting[0] if len(fitting) == 1 else (union, metas)


def _may_be(kind: Any, raw: object) -> bool:
    origin = get_origin(kind) or kind
    if isinstance(raw, dict):
        return origin is dict or _is_struct(kind)
    return isinstance(raw, list) and origin in (list, tuple)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _no_such_field(name: str, candidates: Iterable[str]) -> str:
    meant = closest_name(name, sorted(candidates))
    return f"no such field; did you mean {meant}?" if meant else "no such field"


def pointer_part(name: str) -> str:
    """Return a field name as one part of a JSON pointer (RFC 6901), cut so that a long name cannot fill an answer."""
    return name[:_MAX_POINTER_PART].replace("~", "~0").replace("/", "~1")


def closest_name(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that was most likely meant by `name`, or None.

    Compares at most _MAX_CANDIDATES names, because the caller may choose them.
    """
    return next(iter(closest_names(name, islice(candidates, _MAX_CANDIDATES), most=1)), None)


def closest_names(name: str, candidates: Iterable[str], *, most: int = 3) -> list[str]:
    """Return the candidates that were most likely meant by `name`, the closest first.

    A name that differs in case or in characters other than letters and digits counts as equal and is the only one:
    converters rename `Amount (EUR)` to `Amount__EUR_`.
    """
    compared = list(candidates)
    bare = _bare(name)
    for candidate in compared:
        if bare and _bare(candidate) == bare:
            return [candidate]
    by_text = {candidate[:_MAX_COMPARED_LENGTH]: candidate for candidate in compared}
    matches = get_close_matches(name[:_MAX_COMPARED_LENGTH], by_text, n=most, cutoff=0.75)
    return [by_text[match] for match in matches]


def _bare(name: str) -> str:
    return "".join(letter for letter in name[:_MAX_COMPARED_LENGTH].casefold() if letter.isalnum())
