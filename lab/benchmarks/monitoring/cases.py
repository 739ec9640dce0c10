"""The cases: what is done to a product that serves, and the alarms that it must raise, or must not. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from lab.benchmarks.monitoring.past import Habit
from lab.demo.transactions import NUMBERS
from lab.load.callers import Payload

RATE = 100.0
# Of the demo's model and payments.
REVIEW_SHARE, BLOCK_SHARE = 0.027, 0.0092
# Below the share that the amounts in cents bring about, 3.8 %; the default of 5 % would not trip.
MAX_BLOCK_SHARE = 0.02
BURST_EVENTS = 12

Change = Callable[[Payload], Payload]


@dataclass(frozen=True)
class Case:
    """`expected`: the alerts that must fire, all of them; none for silence.

    `change` is what is done to the payloads. `shuffle` maps fields of a canary to those whose values they get; an empty
    one is a healthy canary. `habit`: the past that the guard compares with, if the case needs one.
    """

    name: str
    done: str
    expected: frozenset[str]
    change: Change | None = None
    shuffle: dict[str, str] | None = None
    habit: Habit | None = None
    breaker: bool = False

    @property
    def product(self) -> str:
        return f"monitored_{self.name}"


def _null_tenth(name: str) -> Change:
    draw = Random(1)
    return lambda payload: {**payload, name: None} if draw.random() < 0.1 else payload


def _in_cents(payload: Payload) -> Payload:
    return {**payload, "amount": payload["amount"] * 100}


def _new_currency(share: float) -> Change:
    draw = Random(2)
    return lambda payload: {**payload, "currency": "BRL"} if draw.random() < share else payload


def _rotated() -> dict[str, str]:
    return dict(zip(NUMBERS, (*NUMBERS[1:], NUMBERS[0]), strict=True))


def _usual(per_second: float, burst: int = 0) -> Habit:
    return Habit(per_second, REVIEW_SHARE, BLOCK_SHARE, burst)


CASES = (
    Case(
        "null_field",
        "`merchant_category` is null in 10 % of events",
        frozenset({"SiraFieldMissing"}),
        _null_tenth("merchant_category"),
    ),
    Case(
        "cents",
        f"amounts arrive times 100; the breaker is on, at {MAX_BLOCK_SHARE:.0%}",
        frozenset({"SiraFieldDrift", "SiraBlockRateJump", "SiraBreakerTripped"}),
        _in_cents,
        habit=_usual(RATE),
        breaker=True,
    ),
    Case(
        "currency",
        "a currency that the model has never seen comes with 5 % of events",
        frozenset({"SiraFieldMissing"}),
        _new_currency(0.05),
    ),
    Case(
        "shuffled",
        "a canary at 10 % has its six numeric columns in another order",
        frozenset({"SiraCanaryRolledBack"}),
        shuffle=_rotated(),
    ),
    Case(
        "swapped",
        "a canary at 10 % has two columns exchanged, `account_age_days` and `orders_before`",
        frozenset({"SiraCanaryOnHold"}),
        shuffle={"account_age_days": "orders_before", "orders_before": "account_age_days"},
    ),
    Case(
        "healthy",
        "nothing: a lunch peak, a burst of blocked events each minute, and a healthy canary at 10 %",
        frozenset(),
        shuffle={},
        habit=_usual(RATE, BURST_EVENTS),
    ),
)
