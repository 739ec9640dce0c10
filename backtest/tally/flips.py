"""Events that are decided otherwise."""

from collections.abc import Iterable
from heapq import nlargest

import msgspec

MAX_FLIPS = 50


class ReplayedFlip(msgspec.Struct, frozen=True):
    """An event that the candidate decides otherwise. `label` is fraud, legitimate, or None when it has none yet."""

    amount: float
    prediction_id: str
    event_id: str
    created_at: str
    before: str
    after: str
    score_before: float
    score_after: float
    label: str | None

    @property
    def order(self) -> tuple[float, str]:
        return self.amount, self.prediction_id


def largest(flips: Iterable[ReplayedFlip]) -> list[ReplayedFlip]:
    """Return the flips with the largest amounts, in an order that does not depend on theirs."""
    return nlargest(MAX_FLIPS, flips, key=lambda flip: flip.order)
