"""Counting batches of replayed events into sums."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.errors import TooManyValues
from backtest.tally.layout import (
    AFTER,
    AMOUNT_UNIT,
    CELLS,
    CONTROLLED,
    FRAUD,
    LABELS,
    LEGITIMATE,
    MAX_AMOUNT,
    NOT_SCORED,
    SCORE_UNIT,
    UNLABELLED,
    cell,
    score_bins,
)
from backtest.tally.sums import MAX_VALUES, Sums

_SAFE = 1 << 62


@dataclass(frozen=True, slots=True)
class Replayed:
    """Arrays of n events. `before`, `after` and `label` are codes of the layout; `amount` is NaN where there is none.

    `score_after` is NaN where the candidate has no score. `propensity`: of events that a model wanted to block while a
    control group was on, NaN for others. `segments`: per field, codes and the text of each code.
    """

    before: Any
    after: Any
    label: Any
    amount: Any
    score_before: Any
    score_after: Any
    same_version: Any
    by_production: Any
    propensity: Any
    segments: Mapping[str, tuple[Any, Sequence[str]]]


class Counter:
    """Adds batches up; `take` returns the sums so far and starts again."""

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = np.asarray(edges)
        self._start()

    def _start(self) -> None:
        self._sums = Sums()
        self._bound = 0
        width = len(self._edges) * len(LABELS)
        self._cells = {name: np.zeros(CELLS, np.int64) for name in ("events", "amount")}
        self._bins = {
            f"{side} {name}": np.zeros(width, np.int64)
            for side in ("before", "after")
            for name in ("events", "amount", "score")
        }
        self._segments: dict[str, dict[str, np.ndarray[Any, np.dtype[np.int64]]]] = {}

    def take(self) -> Sums:
        sums = self._sums
        sums.arrays |= {f"cells {name}": array.tolist() for name, array in self._cells.items()}
        sums.arrays |= {f"bins {name}": array.tolist() for name, array in self._bins.items()}
        sums.segments = {
            name: {value: array.tolist() for value, array in values.items()} for name, values in self._segments.items()
        }
        self._start()
        return sums

    @property
    def full(self) -> bool:
        """Return whether the sums must be taken before another batch could overflow 64 bits."""
        return self._bound > _SAFE

    def add(self, batch: Replayed) -> None:
        """Count a batch of at most BATCH_ROWS events; raises TooManyValues."""
        amounts, known = _whole_amounts(batch.amount)
        self._bound += int(amounts.max(initial=0) - min(amounts.min(initial=0), 0)) * len(amounts)
        cells = cell(batch.before.astype(np.int64), batch.after, batch.label)
        self._count("events", len(cells))
        self._count("without amount", int((~known).sum()))
        self._cells["events"] += np.bincount(cells, minlength=CELLS)
        np.add.at(self._cells["amount"], cells, amounts)
        self._add_squares(batch, cells, amounts)
        self._add_controlled(batch.propensity, cells, amounts)
        self._add_bins("before", batch.score_before, batch.label, amounts)
        scored = batch.after != NOT_SCORED
        self._add_bins("after", batch.score_after[scored], batch.label[scored], amounts[scored])
        for name, (codes, values) in batch.segments.items():
            self._add_segment(name, codes, values, cells, amounts)
        self._compare(batch, scored)

    def _count(self, name: str, number: int) -> None:
        self._sums.counts[name] = self._sums.counts.get(name, 0) + number

    def _add_bins(self, side: str, scores: Any, labels: Any, amounts: Any) -> None:
        places = score_bins(scores, self._edges) * len(LABELS) + labels
        events = self._bins[f"{side} events"]
        events += np.bincount(places, minlength=len(events))
        np.add.at(self._bins[f"{side} amount"], places, amounts)
        np.add.at(self._bins[f"{side} score"], places, np.rint(scores * SCORE_UNIT).astype(np.int64))

    def _add_squares(self, batch: Replayed, cells: Any, amounts: Any) -> None:
        """Add the squared amounts that intervals need: of fraud, and of stopped events that may be legitimate."""
        stopped = (batch.before > 0) | ((batch.after > 0) & (batch.after != NOT_SCORED))
        wanted = (batch.label == FRAUD) | (((batch.label == LEGITIMATE) | (batch.label == UNLABELLED)) & stopped)
        squares = self._sums.arrays.setdefault("cells squares", [0] * CELLS)
        # Python's whole numbers have no limit.
        for place, amount in zip(cells[wanted].tolist(), amounts[wanted].tolist(), strict=True):
            squares[place] += amount * amount

    def _add_controlled(self, propensities: Any, cells: Any, amounts: Any) -> None:
        """Count the events that might have passed, by their propensity: there are as many as shares were set."""
        for propensity in np.unique(propensities[propensities > 0]).tolist():
            chosen = propensities == propensity
            added = {
                f"{CONTROLLED}{propensity!r}": np.bincount(cells[chosen], minlength=CELLS),
                f"amount {CONTROLLED}{propensity!r}": np.zeros(CELLS, np.int64),
            }
            np.add.at(added[f"amount {CONTROLLED}{propensity!r}"], cells[chosen], amounts[chosen])
            self._sums.add(Sums(arrays={name: array.tolist() for name, array in added.items()}))

    def _add_segment(self, name: str, codes: Any, values: Sequence[str], cells: Any, amounts: Any) -> None:
        known = self._segments.setdefault(name, {})
        width = 2 * CELLS
        block = np.zeros(len(values) * width, np.int64)
        places = codes.astype(np.int64) * width + cells
        block += np.bincount(places, minlength=block.size)
        np.add.at(block, places + CELLS, amounts)
        rows = block.reshape(len(values), width)
        for code in np.flatnonzero(rows[:, :CELLS].any(axis=1)).tolist():
            value = values[code]
            if value in known:
                known[value] += rows[code]
            elif len(known) == MAX_VALUES:
                raise TooManyValues(name, MAX_VALUES)
            else:
                known[value] = rows[code].copy()

    def _compare(self, batch: Replayed, scored: Any) -> None:
        """Compare with the scores that this very version gave when it served, which must be the same."""
        same = batch.same_version & scored
        self._count("by production", int(batch.by_production.sum()))
        self._count("same version", int(same.sum()))
        self._count("same version flips", int((same & (batch.before != batch.after)).sum()))
        if same.any():
            off = float(np.abs(batch.score_before[same] - batch.score_after[same]).max())
            self._sums.maxima["same version difference"] = max(
                off, self._sums.maxima.get("same version difference", 0.0)
            )

    @property
    def sums(self) -> Sums:
        """Return the part of the sums that is no array: for flips and refusals."""
        return self._sums


def _whole_amounts(amounts: Any) -> tuple[Any, Any]:
    """Return amounts in thousandths, 0 where there is none, and where there is one."""
    known = np.abs(amounts) <= MAX_AMOUNT  # NaN is not
    return np.rint(np.where(known, amounts, 0.0) * AMOUNT_UNIT).astype(np.int64), known


assert len(AFTER) * len(LABELS) * 3 == CELLS
