"""What is wrong with something that was sent, place by place."""

from dataclasses import dataclass

_MAX_POINTER_PART = 128


@dataclass(frozen=True, slots=True)
class Violation:
    """`pointer` is a JSON pointer into what was sent, such as `/payload/amount`; neither part holds a value."""

    pointer: str
    detail: str


def pointer_part(name: str) -> str:
    """Return a field name as one part of a JSON pointer (RFC 6901), cut so that a long name cannot fill an answer."""
    return name[:_MAX_POINTER_PART].replace("~", "~0").replace("/", "~1")
