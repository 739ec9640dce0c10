"""Leaves with too many conditions for a table: the closed form for each distinct pattern of the background."""

from typing import Any

import numpy as np

from scoring.reasons.graph.ensembles import Floats, Ints
from scoring.reasons.shapley.leaves import Leaves, met
from scoring.reasons.shapley.tables import field_met, leaf_fields, part_of
from scoring.reasons.shapley.weights import MAX_PLAYERS, tables

# Distinct patterns of all deep leaves together: each takes 16 bytes, and about 2 ns of every event.
MAX_PATTERNS = 8_000_000


class ForestTooLarge(Exception):
    """So many deep leaves that an explanation would take too long."""


class DeepLeaves:
    """Leaves of up to MAX_PLAYERS fields. `base` is the mean of their values over the background."""

    def __init__(self, leaves: Leaves, chosen: Ints, background: Any) -> None:
        """Take the `chosen` leaves; raises ForestTooLarge. `background` is (columns, rows)."""
        self._conditions, self._fields, _ = part_of(leaves.conditions, leaf_fields(leaves), chosen)
        if self._fields.count.max(initial=0) > MAX_PLAYERS:
            raise ForestTooLarge(f"a leaf depends on more than {MAX_PLAYERS} fields")
        self._value = leaves.value[chosen]
        self._full = (np.uint64(1) << self._fields.count.astype(np.uint64)) - np.uint64(1)
        patterns = self._patterns(background)
        rows = patterns.shape[1]
        patterns.sort(axis=1)
        new = np.ones(patterns.shape, dtype=bool)
        new[:, 1:] = patterns[:, 1:] != patterns[:, :-1]
        starts = np.flatnonzero(new)
        if len(starts) > MAX_PATTERNS:
            raise ForestTooLarge(f"{len(starts)} background patterns of deep leaves, over {MAX_PATTERNS}")
        self._leaf = starts // rows
        self._pattern = patterns.reshape(-1)[starts]
        self._share = np.diff(np.concatenate([starts, [patterns.size]])) / rows
        reached = self._pattern == self._full[self._leaf]
        self.base = float((self._share[reached] * self._value[self._leaf[reached]]).sum())
        self._plus, self._minus = tables()

    def explain(self, values: Any, fields: int) -> Floats:
        """Return the Shapley values of n events, (n, fields), from (columns, n)."""
        found = np.zeros((values.shape[1], fields))
        patterns = self._patterns(values)
        for event in range(values.shape[1]):
            found[event] = self._explain_one(patterns[:, event], fields)
        return found

    def _explain_one(self, patterns: Any, fields: int) -> Floats:
        x, full = patterns[self._leaf], self._full[self._leaf]
        possible = np.flatnonzero((x | self._pattern) == full)
        leaf, x, z = self._leaf[possible], x[possible], self._pattern[possible]
        only_x, only_z = x & ~z, z & ~x
        a, b = np.bitwise_count(only_x), np.bitwise_count(only_z)
        weight = self._share[possible] * self._value[leaf]
        plus, minus = weight * self._plus[a, b], weight * self._minus[a, b]
        found = np.zeros(fields)
        start, count = self._fields.starts[leaf], self._fields.count[leaf]
        for bit in range(int(count.max(initial=0))):
            mask = np.uint64(1 << bit)
            for alone, amount in ((only_x, plus), (only_z, minus)):
                here = np.flatnonzero(alone & mask)
                field = self._fields.field[start[here] + bit]
                found += np.bincount(field, weights=amount[here], minlength=fields)
        return found

    def _patterns(self, values: Any) -> Any:
        """Return the pattern of each leaf: (leaves, n) uint64."""
        found = np.zeros((len(self._value), values.shape[1]), dtype=np.uint64)
        is_met = field_met(self._fields, met(self._conditions, values))
        np.bitwise_or.at(found, self._fields.leaf, is_met.astype(np.uint64) << self._shifts())
        return found

    def _shifts(self) -> Any:
        return self._fields.bit.astype(np.uint64)[:, None]
