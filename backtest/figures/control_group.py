"""Quality on labels that the control group made known: what passed stands for what might have passed.

docs/monitoring.md has the formulas. A logged decision counts here as what the model wanted, so an event that passed
counts as blocked.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from backtest.figures.cells import SIDES, Side
from backtest.figures.description import ControlGroupFigures, WeightedQuality
from backtest.tally.layout import (
    AFTER,
    AMOUNT_UNIT,
    CONTROLLED,
    FRAUD,
    LABELS,
    LEGITIMATE,
    NOT_SCORED,
    UNLABELLED,
)
from canary.intervals import Estimate, weighted_share
from scoring.decision import DECISIONS

_BLOCK = DECISIONS.index("block")


class _Group:
    """Cells of events that have one weight; `wanted`: the logged model wanted to block every one of them."""

    def __init__(self, events: Any, weight: float, *, wanted: bool, assumed: bool) -> None:
        self.weight = weight
        legitimate = events[:, :, LEGITIMATE].copy()
        if assumed:
            # A block that could not pass has no label because it was blocked, not because it is legitimate.
            legitimate[: None if wanted else _BLOCK] += events[: None if wanted else _BLOCK, :, UNLABELLED]
        self._of_label = {FRAUD: events[:, :NOT_SCORED, FRAUD], LEGITIMATE: legitimate[:, :NOT_SCORED]}
        self._wanted = wanted

    def events(self, label: int, blocked_by: Side | None) -> int:
        counters = self._of_label[label]
        if blocked_by == "after":
            return int(counters[:, _BLOCK].sum())
        return int((counters if blocked_by is None or self._wanted else counters[_BLOCK]).sum())


def control_group_figures(
    arrays: Mapping[str, Sequence[int]], *, unlabelled_are_legitimate: bool
) -> ControlGroupFigures | None:
    """Return the figures from a backtest's counters; None where no event might have passed."""
    shares = [float(name.removeprefix(CONTROLLED)) for name in arrays if name.startswith(CONTROLLED)]
    if not shares:
        return None
    assumed = unlabelled_are_legitimate
    events, amounts = _shaped(arrays["cells events"]), _shaped(arrays["cells amount"])
    groups: list[_Group] = []
    eligible = passed = labelled = 0
    for share in sorted(shares):
        controlled = _shaped(arrays[f"{CONTROLLED}{share!r}"])
        events = events - controlled
        amounts = amounts - _shaped(arrays[f"amount {CONTROLLED}{share!r}"])
        eligible += int(controlled.sum())
        passing = controlled.copy()
        passing[_BLOCK] = 0
        passed += int(passing.sum())
        labelled += int(passing[:, :, [FRAUD, LEGITIMATE]].sum())
        groups.append(_Group(passing, 1 / share, wanted=True, assumed=assumed))
    groups.append(_Group(events, 1.0, wanted=False, assumed=assumed))
    before, after = (_quality(groups, side) for side in SIDES)
    return ControlGroupFigures(
        eligible,
        passed,
        labelled,
        before,
        after,
        blind=int(events[_BLOCK][:, UNLABELLED:].sum()),
        blind_amount=int(amounts[_BLOCK][:, UNLABELLED:].sum()) / AMOUNT_UNIT,
    )


def _quality(groups: Sequence[_Group], side: Side) -> WeightedQuality:
    def sums(label: int, blocked_by: Side | None) -> Iterator[tuple[float, float]]:
        for group in groups:
            events = group.events(label, blocked_by)
            yield events * group.weight, events * group.weight**2

    def total(*of: tuple[int, Side | None]) -> tuple[float, float]:
        pairs = [pair for label, blocked_by in of for pair in sums(label, blocked_by)]
        return sum(weight for weight, _ in pairs), sum(squares for _, squares in pairs)

    def estimate(part: tuple[float, float], whole: tuple[float, float]) -> Estimate:
        return weighted_share(part[0], whole[0], whole[1], part[1])

    caught, wrong = total((FRAUD, side)), total((LEGITIMATE, side))
    return WeightedQuality(
        estimate(caught, total((FRAUD, side), (LEGITIMATE, side))),
        estimate(caught, total((FRAUD, None))),
        estimate(wrong, total((LEGITIMATE, None))),
    )


def _shaped(values: Sequence[int]) -> Any:
    return np.array(values, object).reshape(len(DECISIONS), len(AFTER), len(LABELS))
