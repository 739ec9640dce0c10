"""Which of the events that a model wants to block are let through, so that their labels become known: pure.

docs/monitoring.md says what it is for, what it costs, and how its propensities are used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from canary.split import position
from scoring.event import Scalar

ControlAnswer = Literal["review", "allow"]


@dataclass(frozen=True, slots=True)
class RunningControlGroup:
    """The control group of a product that is on.

    `share`: the probability with which an event is let through, 0 to 0.05. `max_per_day`: per UTC day, of all workers
    together. `max_amount`: of one event, in the units of the payload's `amount_field`. `seed`: 16 bytes.
    """

    product: str
    share: float
    answer: ControlAnswer
    max_per_day: int
    max_amount: float
    amount_field: str
    seed: bytes


def is_selected(group: RunningControlGroup, event_id: str) -> bool:
    """Return whether the event is in the share: the same on every pod, and for every repetition of the event.

    Not by routing key: one card that is tried again and again could then use up the day.
    """
    return position(group.seed, event_id) < group.share


def is_within_amount(group: RunningControlGroup, payload: Mapping[str, Scalar]) -> bool:
    """Return whether the payload has an amount of 0 to `max_amount`; text, true and NaN are no amounts."""
    amount = payload.get(group.amount_field)
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        return False
    return 0 <= amount <= group.max_amount


def slots_per_request(max_per_day: int) -> int:
    """Return how many slots of a day a worker takes at once: what it has not used may be lost when it is killed."""
    return max(1, max_per_day // 50)
