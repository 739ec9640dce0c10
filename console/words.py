"""Numbers and times as people read them. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

NOTHING = "–"


def number(value: float | None) -> str:
    """Return a number with thousands separators, to four significant digits below a thousand."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.4g}"


def share(part: float | None, whole: float = 1, digits: int = 2) -> str:
    """Return a share in percent."""
    return NOTHING if part is None or not whole else f"{100 * part / whole:.{digits}f} %"


def milliseconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else "≤ 1 ms" if seconds <= 0.001 else f"{seconds * 1e3:.1f} ms"


def rate(per_second: float | None) -> str:
    if per_second is None:
        return NOTHING
    if per_second == 0:
        return "0"
    digits = 0 if per_second >= 100 else 1 if per_second >= 1 else 2
    return f"{per_second:,.{digits}f}"


def percent(value: float | None) -> str:
    """Return a percentage as it is: 12.5 -> "12.5 %"."""
    return NOTHING if value is None else f"{value:g} %"


def time(at: datetime | None) -> str:
    return NOTHING if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def minute(at: datetime | None) -> str:
    return NOTHING if at is None else at.strftime("%Y-%m-%d %H:%M")


def clock(at: datetime | None) -> str:
    return NOTHING if at is None else at.strftime("%H:%M:%S")


def duration(span: timedelta | float | None) -> str:
    """Return a length of time in its two largest units: "2 d 4 h", "3 min 20 s"."""
    if span is None:
        return NOTHING
    seconds = int(span.total_seconds() if isinstance(span, timedelta) else span)
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[tuple[int, str]] = []
    for name, size in units:
        count, seconds = divmod(max(seconds, 0), size)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count) or "0 s"


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago something was, or that it is in the future."""
    if at is None:
        return "never"
    span = now - at
    return f"in {duration(-span)}" if span < timedelta(0) else f"{duration(span)} ago"


def short(identifier: str | None, length: int = 8) -> str:
    """Return the beginning of an id or a digest."""
    return NOTHING if identifier is None else identifier[:length]


FILTERS: Mapping[str, Callable[..., Any]] = {
    "number": number,
    "share": share,
    "milliseconds": milliseconds,
    "rate": rate,
    "percent": percent,
    "time": time,
    "minute": minute,
    "clock": clock,
    "duration": duration,
    "ago": ago,
    "short": short,
}
