"""What is wrong with something that was sent, place by place."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

_MAX_POINTER_PART = 128
_MAX_CANDIDATES = 64
_MAX_COMPARED_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Violation:
    """`pointer` is a JSON pointer into what was sent, such as `/payload/amount`; neither part holds a value."""

    pointer: str
    detail: str


def pointer_part(name: str) -> str:
    """Return a field name as one part of a JSON pointer (RFC 6901), cut so that a long name cannot fill an answer."""
    return name[:_MAX_POINTER_PART].replace("~", "~0").replace("/", "~1")


def closest_name(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that was most likely meant by `name`, or None.

    Names that differ in case or in characters other than letters and digits count as equal: converters rename
    `Amount (EUR)` to `Amount__EUR_`. Compares at most _MAX_CANDIDATES names, because the caller may choose them.
    """
    compared = list(islice(candidates, _MAX_CANDIDATES))
    bare = _bare(name)
    for candidate in compared:
        if bare and _bare(candidate) == bare:
            return candidate
    by_text = {candidate[:_MAX_COMPARED_LENGTH]: candidate for candidate in compared}
    matches = get_close_matches(name[:_MAX_COMPARED_LENGTH], by_text, n=1, cutoff=0.75)
    return by_text[matches[0]] if matches else None


def _bare(name: str) -> str:
    return "".join(letter for letter in name[:_MAX_COMPARED_LENGTH].casefold() if letter.isalnum())
