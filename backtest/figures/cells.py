"""Counters of decisions and labels as an array, and what follows from them."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from backtest.figures.description import Comparison, Quality
from backtest.tally.layout import (
    AFTER,
    AMOUNT_UNIT,
    FRAUD,
    LABELS,
    LEGITIMATE,
    NOT_SCORED,
    UNLABELLED,
)
from canary.intervals import amount, paired_difference, share
from scoring.decision import DECISIONS

Side = Literal["before", "after"]
SIDES: tuple[Side, ...] = ("before", "after")


class Cells:
    """Events and amounts by decision before, decision after, and label. Sums are Python's whole numbers."""

    def __init__(
        self,
        events: Sequence[int],
        amounts: Sequence[int],
        squares: Sequence[int] | None,
        *,
        unlabelled_are_legitimate: bool,
    ) -> None:
        self.events = _shaped(events)
        self.amounts = _shaped(amounts)
        self._squares = _shaped(squares or [0] * len(events))
        self._legitimate = [LEGITIMATE, UNLABELLED] if unlabelled_are_legitimate else [LEGITIMATE]

    def of_label(self, counters: Any, label: int) -> Any:
        """Return counters by decision before and after, of what counts as this label."""
        return counters[:, :, self._legitimate].sum(axis=2) if label == LEGITIMATE else counters[:, :, label]

    def stopped(self, counters: Any, label: int, side: Side, least: int) -> int:
        """Return the sum over events that a side decided as `least` or more severe, among those with a score."""
        return int(_of_side(self.of_label(counters, label)[:, :NOT_SCORED], side)[least:].sum())

    def labelled(self, counters: Any, label: int) -> int:
        return int(self.of_label(counters, label)[:, :NOT_SCORED].sum())

    def by_decision(self, counters: Any, label: int, side: Side) -> list[int]:
        return [int(n) for n in _of_side(self.of_label(counters, label)[:, :NOT_SCORED], side)]

    def comparison(self, positive: Literal["block", "review or block"]) -> Comparison:
        least = DECISIONS.index("block" if positive == "block" else "review")
        before, after = (self._quality(side, least) for side in SIDES)
        gained, lost, fraud = self._changed(FRAUD, least)
        more, fewer, legitimate = self._changed(LEGITIMATE, least)
        ratio = after.true_positives / before.true_positives if before.true_positives else None
        return Comparison(
            positive,
            before,
            after,
            paired_difference(gained, lost, fraud),
            paired_difference(more, fewer, legitimate),
            ratio,
        )

    def _quality(self, side: Side, least: int) -> Quality:
        caught, wrong = (self.stopped(self.events, label, side, least) for label in (FRAUD, LEGITIMATE))
        fraud, legitimate = (self.labelled(self.events, label) for label in (FRAUD, LEGITIMATE))
        caught_amount, wrong_amount = (self.stopped(self.amounts, label, side, least) for label in (FRAUD, LEGITIMATE))
        caught_squares, wrong_squares = (
            self.stopped(self._squares, label, side, least) for label in (FRAUD, LEGITIMATE)
        )
        missed_amount = self.labelled(self.amounts, FRAUD) - caught_amount
        missed_squares = self.labelled(self._squares, FRAUD) - caught_squares
        return Quality(
            true_positives=caught,
            false_positives=wrong,
            false_negatives=fraud - caught,
            true_negatives=legitimate - wrong,
            precision=share(caught, caught + wrong),
            recall=share(caught, fraud),
            false_positive_rate=share(wrong, legitimate),
            amount_caught=amount(caught_amount, caught_squares, AMOUNT_UNIT),
            amount_missed=amount(missed_amount, missed_squares, AMOUNT_UNIT),
            amount_wrongly_declined=amount(wrong_amount, wrong_squares, AMOUNT_UNIT),
        )

    def _changed(self, label: int, least: int) -> tuple[int, int, int]:
        """Return the events that only the candidate stops, that only the log did, and all with this label."""
        events = self.of_label(self.events, label)[:, :NOT_SCORED]
        return int(events[:least, least:].sum()), int(events[least:, :least].sum()), int(events.sum())


def _of_side(counters: Any, side: Side) -> Any:
    return counters.sum(axis=1 if side == "before" else 0)


def _shaped(values: Sequence[int]) -> Any:
    return np.array(values, object).reshape(len(DECISIONS), len(AFTER), len(LABELS))
