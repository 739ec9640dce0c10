"""Fields that were asked for and that no event has: most often a name that was misspelt."""

from collections.abc import Collection, Iterator, Mapping

from backtest.request import DEFAULT_AMOUNT_FIELD, BacktestToRun
from registry import printable
from runtime.reading import Violation, closest_names

_MAX_LISTED = 20


def asked_fields(request: BacktestToRun) -> dict[str, str]:
    """Return the payload fields of a request by JSON pointer; not the default amount, which need not exist."""
    asked = {f"/segments/{place}": name for place, name in enumerate(request.segments)}
    if request.amount_field != DEFAULT_AMOUNT_FIELD:
        asked["/amount_field"] = request.amount_field
    return asked


def unknown_fields(asked: Mapping[str, str], known: Collection[str], product: str) -> Iterator[Violation]:
    """Yield each asked field, by JSON pointer, that is not known, with the names that were most likely meant."""
    for pointer, name in asked.items():
        if name not in known:
            yield Violation(pointer, f"no event of {printable(product)} has {printable(name)}; {_meant(name, known)}")


def _meant(name: str, known: Collection[str]) -> str:
    if meant := closest_names(name, sorted(known)):
        return f"did you mean {' or '.join(map(printable, meant))}?"
    listed = sorted(known)[:_MAX_LISTED]
    more = f" and {len(known) - len(listed)} more" if len(known) > len(listed) else ""
    return f"its fields are {', '.join(map(printable, listed))}{more}"
