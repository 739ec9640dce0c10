"""Reason codes: what an institution says to a customer or an analyst when a field drives a decision.

They are declared with a version (`--reason-codes FILE.yaml`, or `sira.reasons` in the file) and are a part of it:
    - {field: attempts, direction: raises, at_least: 3, code: R07, sentence: more attempts within the hour than usual}
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from registry.signature import MAX_NAME_LENGTH, Field
from runtime.reading import InputInvalid, closest_name, read

MAX_CODES = 500
MAX_SENTENCE_LENGTH = 200

Code = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$",
        extra={"expected": "must be 1 to 32 of A-Z a-z 0-9 _ . - and start with a letter or digit"},
    ),
]


class ReasonCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`code` and `sentence` of a field, if it moves the score in `direction` and its number is in [at_least, below).

    Without a direction or a range, each is any. The first that fits counts.
    """

    field: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
    code: Code
    sentence: Annotated[str, Meta(min_length=1, max_length=MAX_SENTENCE_LENGTH)]
    direction: Literal["raises", "lowers"] | None = None
    at_least: float | None = None
    below: float | None = None


Codes = Annotated[tuple[ReasonCode, ...], Meta(max_length=MAX_CODES)]


def read_codes(written: object) -> tuple[tuple[ReasonCode, ...], list[str]]:
    """Return the codes of decoded JSON or YAML, and every fault in them."""
    if not isinstance(written, list):
        return (), ["reason codes must be a list of {field, code, sentence}, with direction, at_least and below if any"]
    try:
        return read(Codes, written), []
    except InputInvalid as invalid:
        return (), [f"reason codes: {violation.pointer} {violation.detail}" for violation in invalid.violations]


def parse_codes(text: str) -> tuple[tuple[ReasonCode, ...], list[str]]:
    """Return the codes of a YAML or JSON file's text, and every fault in them."""
    try:
        return read_codes(yaml.safe_load(text))
    except (yaml.YAMLError, RecursionError):
        return (), ["reason codes cannot be read as YAML"]


def code_faults(codes: Sequence[ReasonCode], fields: Sequence[Field]) -> list[str]:
    """Return what the codes say of fields that the model does not have, or that have no range."""
    kinds = {field.name: field.kind for field in fields}
    found = []
    for code in codes:
        kind = kinds.get(code.field)
        if kind is None:
            closest = closest_name(code.field, list(kinds))
            hint = f"; did you mean {closest}?" if closest else ""
            found.append(f"reason code {code.code} names {code.field}, which the model does not take{hint}")
        elif kind in ("string", "bool") and (code.at_least is not None or code.below is not None):
            found.append(f"reason code {code.code} has a range, but {code.field} is not a number")
        if code.at_least is not None and code.below is not None and code.at_least >= code.below:
            found.append(f"reason code {code.code} has an empty range: at_least must be less than below")
        if not code.sentence.isprintable():
            found.append(f"the sentence of reason code {code.code} has characters that do not print")
    return found


class ReasonCodes:
    """Finds the code of a field's impact."""

    def __init__(self, codes: Sequence[ReasonCode]) -> None:
        self._of: dict[str, list[ReasonCode]] = {}
        for code in codes:
            self._of.setdefault(code.field, []).append(code)

    def find(self, field: str, direction: str, value: Any) -> ReasonCode | None:
        """Return the first code that fits; None for a field without impact. A missing value is in no range."""
        if direction == "none":
            return None
        for code in self._of.get(field, ()):
            if code.direction in (None, direction) and _in_range(code, value):
                return code
        return None


def _in_range(code: ReasonCode, value: Any) -> bool:
    if code.at_least is not None and not value >= code.at_least:
        return False
    return code.below is None or value < code.below


def codes_of(metadata: Mapping[str, Any]) -> tuple[ReasonCode, ...]:
    """Return the codes that a registered version's metadata holds."""
    return msgspec.convert(metadata.get("reasons", []), tuple[ReasonCode, ...])
