"""The settings of a control group, and how an operator changes them: pure."""

from dataclasses import dataclass, replace
from typing import Literal

MAX_SHARE = 0.05
MAX_PER_DAY = 10_000
DEFAULT_SHARE = 0.005
DEFAULT_MAX_PER_DAY = 20
DEFAULT_AMOUNT_FIELD = "amount"


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """The control group of a product. While `enabled`, some events that a model wants to block get `answer` instead.

    `share`: the probability of each. `max_per_day`: per UTC day. `max_amount`: the largest amount of an event, in the
    units of the payload's `amount_field`; events above it, or without an amount, are blocked.
    """

    product: str
    enabled: bool = False
    share: float = DEFAULT_SHARE
    answer: Literal["review", "allow"] = "review"
    max_per_day: int = DEFAULT_MAX_PER_DAY
    max_amount: float | None = None
    amount_field: str = DEFAULT_AMOUNT_FIELD


@dataclass(frozen=True, slots=True)
class ControlDay:
    """What became of the events of a UTC day that a model wanted to block while the group was on.

    `eligible`: they had a propensity above 0. `let_through` are among them.
    """

    would_block: int = 0
    eligible: int = 0
    let_through: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroupToday(ControlGroup):
    """A control group, and what it did on this UTC day."""

    today: ControlDay


def as_set(
    group: ControlGroup,
    *,
    enabled: bool,
    share: float | None = None,
    answer: Literal["review", "allow"] | None = None,
    max_per_day: int | None = None,
    max_amount: float | None = None,
    amount_field: str | None = None,
) -> ControlGroup:
    """Return the group as an operator sets it. What is None stays as it is."""
    given = {
        "share": share,
        "answer": answer,
        "max_per_day": max_per_day,
        "max_amount": max_amount,
        "amount_field": amount_field,
    }
    return replace(group, enabled=enabled, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
