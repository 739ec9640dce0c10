"""Exact Shapley values of a forest's margin, payload fields as players, against a fixed background."""

from typing import Any

import numpy as np

from scoring.reasons.graph.ensembles import Floats
from scoring.reasons.shapley.bit_bundles import with_bits
from scoring.reasons.shapley.bundles import MAX_STATES, Bundles, bundle
from scoring.reasons.shapley.deep_leaves import DeepLeaves
from scoring.reasons.shapley.leaves import Leaves
from scoring.reasons.shapley.tables import build_tables

# Tables of more than this are not built: the leaves with the largest go into the closed form instead.
MAX_TABLE_BYTES = 128 << 20
# Events worked on at a time, so that what one step leaves for the next stays in the processor's cache.
_EVENTS = 128
_PAIRS = 2_048
# Fewer events than this are faster one by one.
_MIN_TOGETHER = 8


class TreeShapley:
    """`base` is the mean margin of the background, without the intercept.

    The tables hold whole numbers of `unit`, whose sums are the same in any order: an explanation has the same digits
    alone, in a batch, and on another machine.
    """

    def __init__(self, leaves: Leaves, background: Any, fields: int, *, max_table_bytes: int = MAX_TABLE_BYTES) -> None:
        """Build the tables for `background`, (columns, rows) float64. Raises ForestTooLarge."""
        self._fields = fields
        self._dtype = leaves.compared
        bundles = _bundle_within(leaves, max_table_bytes)
        tables = build_tables(leaves, bundles, background)
        self._values, self._unit = _whole(tables.values)
        self._offset = tables.offset
        self._present, self._starts = np.unique(tables.field, return_index=True)
        self._ranges = _ranges(self._starts, len(tables.field))
        self._cuts = _Cuts(bundles, self._dtype)
        self._bundle = self._cuts.place[tables.bundle]
        deep = np.flatnonzero(bundles.of_leaf < 0)
        self._deep = DeepLeaves(leaves, deep, background) if len(deep) else None
        self.base = tables.base + (self._deep.base if self._deep else 0.0)

    @property
    def table_bytes(self) -> int:
        return int(self._values.nbytes)

    def explain(self, values: Any) -> Floats:
        """Return the Shapley values of n events, (n, fields), from (columns, n) float64."""
        found = np.zeros((values.shape[1], self._fields))
        if len(self._present):
            compared = values.astype(self._dtype)
            if values.shape[1] < _MIN_TOGETHER:
                for event in range(values.shape[1]):
                    found[event, self._present] = self._one(np.ascontiguousarray(compared[:, event : event + 1]))
            else:
                for first in range(0, values.shape[1], _EVENTS):
                    part = np.ascontiguousarray(compared[:, first : first + _EVENTS])
                    found[first : first + _EVENTS, self._present] = self._together(part)
        found *= self._unit
        if self._deep:
            found += self._deep.explain(values, self._fields)
        return found

    def _one(self, values: Any) -> Any:
        places = self._cuts.states(values)[:, 0].take(self._bundle) + self._offset
        return np.add.reduceat(self._values.take(places), self._starts, dtype=np.int64)

    def _together(self, values: Any) -> Any:
        states = self._cuts.states(values)
        sums = np.zeros((len(self._present), values.shape[1]), dtype=np.int64)
        for number, start, end in self._ranges:
            places = states.take(self._bundle[start:end], axis=0) + self._offset[start:end, None]
            sums[number] += np.add.reduce(self._values.take(places), axis=0, dtype=np.int64)
        return sums.T


def _ranges(starts: Any, end: int) -> list[tuple[int, int, int]]:
    """The pairs of each field, a few thousand at a time: (number of the field, first, last + 1)."""
    found = []
    for number, (first, last) in enumerate(zip(starts.tolist(), [*starts[1:].tolist(), end], strict=False)):
        found += [(number, start, min(start + _PAIRS, last)) for start in range(first, last, _PAIRS)]
    return found


def _whole(values: Floats) -> tuple[Any, float]:
    """The values as 32-bit multiples of a power of two."""
    largest = float(np.abs(values).max(initial=0.0))
    unit = 2.0 ** (int(np.ceil(np.log2(largest))) - 31) if largest else 1.0
    whole = np.rint(values / unit)
    return np.clip(whole, -(2**31) + 1, 2**31 - 1).astype(np.int32), unit


def _bundle_within(leaves: Leaves, max_bytes: int) -> Bundles:
    states = MAX_STATES
    while True:
        bundles = bundle(leaves, states)
        axes = np.bincount(bundles.bundle, minlength=len(bundles.states))
        table_bytes = 4 * int((bundles.states * axes).sum())
        if states <= 1 or table_bytes <= max_bytes:
            return with_bits(leaves, bundles, max_bytes - table_bytes)
        states //= 4


class _Cuts:
    """The cuts of all bundles in rounds: round r holds the r-th cut of each bundle that has so many.

    Bundles are renumbered with the most cuts first, so that each round is a plain range of them.
    """

    def __init__(self, bundles: Bundles, dtype: Any) -> None:
        self._bundles = bundles
        owner = bundles.bundle[bundles.cut_axis]
        count = np.bincount(owner, minlength=len(bundles.states))
        order = np.argsort(-count, kind="stable")
        self.place = np.empty(len(order), dtype=np.int64)
        self.place[order] = np.arange(len(order))
        first = np.cumsum(count) - count
        turn = np.arange(len(owner)) - first[owner]
        self._rounds = []
        for r in range(int(count.max(initial=0))):
            here = np.flatnonzero(turn == r)
            here = here[np.argsort(self.place[owner[here]])]
            axis = bundles.cut_axis[here]
            cut = bundles.cut_value[here].astype(dtype)[:, None]
            step = (bundles.stride[axis] * bundles.cut_step[here]).astype(np.int16)[:, None]
            self._rounds.append((bundles.column[axis], cut, step))
        self._first = np.zeros((len(order), 1), dtype=np.int16)
        first_state = (bundles.first_cell * bundles.stride).astype(np.int16)
        np.add.at(self._first[:, 0], self.place[bundles.bundle], first_state)

    def states(self, values: Any) -> Any:
        """Return the combination of cells that each event has in each bundle, by place: (bundles, n) int16."""
        states = np.repeat(self._first, values.shape[1], axis=1)
        for column, cut, step in self._rounds:
            beyond = values.take(column, axis=0) >= cut
            states[: len(column)] += beyond.view(np.int8) * step
        missing = np.isnan(values)
        if missing.any():
            self._add_missing(states, missing)
        return states

    def _add_missing(self, states: Any, missing: Any) -> None:
        """A missing value is beyond no cut: move it from the first cell to its own."""
        b = self._bundles
        for column in np.flatnonzero(missing.any(axis=1)):
            axes = np.flatnonzero(b.column == column)
            moved = ((b.missing_cell - b.first_cell)[axes] * b.stride[axes]).astype(np.int16)
            states[np.ix_(self.place[b.bundle[axes]], np.flatnonzero(missing[column]))] += moved[:, None]
