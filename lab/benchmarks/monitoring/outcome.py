"""What a case raised, and how soon; the table of all of them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.benchmarks.scale.finding import Row


@dataclass(frozen=True)
class Seen:
    """An alarm, and the seconds from the change to the first metric that reported it."""

    alert: str
    what: str
    seconds: float


@dataclass(frozen=True)
class Breaker:
    """What the breaker did: seconds from the change until it tripped and until the last block, and how many events
    were blocked from the change on, and how many were answered `review` instead."""

    tripped_seconds: float
    last_block_seconds: float
    blocked: int
    downgraded: int


@dataclass(frozen=True)
class Measured:
    """`early`: alarms before the change, which must be none. `seconds`: from the change to the end."""

    name: str
    done: str
    expected: tuple[str, ...]
    seen: tuple[Seen, ...]
    early: tuple[Seen, ...]
    seconds: float
    sent: int
    errors: int
    breaker: Breaker | None = None

    @property
    def reached(self) -> bool:
        raised = {one.alert for one in self.seen}
        silent = bool(self.expected) or not raised
        return silent and {*self.expected} <= raised and not self.early and not self.errors


def rows(measured: Sequence[Measured]) -> list[Row]:
    """Return the outcomes as rows of a table."""
    return [
        {
            "what was done": one.done,
            "alarms, and seconds until each": "; ".join(map(_seen, one.seen)) or f"none in {one.seconds:.0f} s",
            "breaker": "" if one.breaker is None else _breaker(one.breaker),
            "events": one.sent,
            "": "as it must be" if one.reached else "NOT as it must be",
        }
        for one in measured
    ]


def _seen(one: Seen) -> str:
    return f"`{one.alert}` ({one.what}) {one.seconds:.0f}"


def _breaker(one: Breaker) -> str:
    return (
        f"tripped after {one.tripped_seconds:.0f} s; last block after {one.last_block_seconds:.0f} s;"
        f" {one.blocked:,} blocked, then {one.downgraded:,} reviewed"
    )
