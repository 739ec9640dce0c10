"""The tables of bundles: for each combination of cells, what each field of the bundle adds to the margin.

WOODELF (Nadel and Wettenstein, AAAI 2026) showed that for one leaf the background enters only through the counts of
the patterns in which its rows meet the leaf's conditions. Here a condition is a field's, whatever columns it has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scoring.reasons.graph.ensembles import Flags, Floats, Ints
from scoring.reasons.shapley.bundles import Bundles
from scoring.reasons.shapley.leaves import Conditions, Leaves, met
from scoring.reasons.shapley.weights import leaf_tables

# Leaves times combinations that are worked on at a time: 2 million numbers of 8 bytes each, several times.
_BLOCK = 500_000


@dataclass(frozen=True, slots=True)
class LeafFields:
    """The distinct fields that a leaf's conditions belong to, each with its place (bit) in the leaf's pattern.

    Entry e is field `field[e]` of leaf `leaf[e]`, bit `bit[e]`; `of_condition[i]` is the entry of condition i, and
    `count[leaf]` the number of fields of a leaf. Sorted by leaf, then field.
    """

    leaf: Ints
    field: Ints
    bit: Ints
    of_condition: Ints
    count: Ints
    starts: Ints


def leaf_fields(leaves: Leaves) -> LeafFields:
    """Return which fields each leaf depends on."""
    c = leaves.conditions
    span = int(leaves.owner.max(initial=0)) + 1
    keys, inverse = np.unique(c.leaf * span + leaves.owner[c.column], return_inverse=True)
    leaf, field = keys // span, keys % span
    starts = np.searchsorted(leaf, np.arange(len(leaves.value) + 1))
    return LeafFields(leaf, field, np.arange(len(leaf)) - starts[leaf], inverse, np.diff(starts), starts)


def field_met(fields: LeafFields, met_conditions: Flags) -> Flags:
    """Return whether all conditions of each leaf's field are met: (entries, n) from (conditions, n)."""
    found = np.ones((len(fields.leaf), met_conditions.shape[1]), dtype=bool)
    order = np.argsort(fields.of_condition, kind="stable")
    if len(order):
        sorted_entries = fields.of_condition[order]
        firsts = np.flatnonzero(np.concatenate([[True], np.diff(sorted_entries) != 0]))
        found[sorted_entries[firsts]] = np.logical_and.reduceat(met_conditions[order], firsts, axis=0)
    return found


@dataclass(frozen=True, slots=True)
class Tables:
    """`values[offset[p] + combination]` is what pair p, field `field[p]` of bundle `bundle[p]`, adds to the margin.

    Pairs are sorted by field. `base` is the mean of the leaves' values over the background.
    """

    values: Floats
    offset: Ints
    bundle: Ints
    field: Ints
    base: float


def build_tables(leaves: Leaves, bundles: Bundles, background: Any) -> Tables:
    """Return the tables for `background`, (columns, rows) float64."""
    fields = leaf_fields(leaves)
    inside = bundles.of_leaf[fields.leaf] >= 0
    keys = np.unique(fields.field[inside] * len(bundles.states) + bundles.of_leaf[fields.leaf[inside]])
    pair_field, pair_bundle = keys // max(len(bundles.states), 1), keys % max(len(bundles.states), 1)
    offset = np.concatenate([[0], np.cumsum(bundles.states[pair_bundle])])
    values = np.zeros(int(offset[-1]))
    base = 0.0
    for chosen in _blocks(leaves, bundles):
        base += _add_block(values, offset, keys, leaves, bundles, fields, chosen, background)
    return Tables(values, offset[:-1], pair_bundle, pair_field, base)


def _blocks(leaves: Leaves, bundles: Bundles) -> Iterator[Ints]:
    """Leaves of the same number of fields, and of about _BLOCK combinations together."""
    count = leaf_fields(leaves).count
    for k in np.unique(count[bundles.of_leaf >= 0]):
        chosen = np.flatnonzero((count == k) & (bundles.of_leaf >= 0))
        sizes = np.cumsum(np.maximum(bundles.states[bundles.of_leaf[chosen]], k << k))
        cuts = np.searchsorted(sizes, np.arange(_BLOCK, int(sizes[-1]), _BLOCK))
        yield from (part for part in np.split(chosen, np.unique(cuts)) if len(part))


def _add_block(
    values: Floats,
    offset: Ints,
    keys: Ints,
    leaves: Leaves,
    bundles: Bundles,
    fields: LeafFields,
    chosen: Ints,
    background: Any,
) -> float:
    """Add leaves of equally many fields to the tables; returns what they add to the base."""
    k = int(fields.count[chosen[0]])
    conditions, entries, old = part_of(leaves.conditions, fields, chosen)
    bits = field_met(entries, met(conditions, background)).reshape(len(chosen), k, background.shape[1])
    patterns = _pattern(bits)
    cells = np.arange(len(chosen))[:, None] << k | patterns
    counts = np.bincount(cells.reshape(-1), minlength=len(chosen) << k).reshape(len(chosen), 1 << k)
    shares = counts / background.shape[1]
    value = leaves.value[chosen]
    base = float((shares[:, -1] * value).sum())
    if k == 0:
        return base
    table = (leaf_tables(shares) * value[:, None, None]).reshape(-1, k)
    pattern, states = _patterns_by_state(bundles.of_leaf[chosen], conditions, old, entries, bundles, k)
    leaf = np.repeat(np.arange(len(chosen)), states)
    state = np.arange(len(leaf)) - np.repeat(np.cumsum(states) - states, states)
    rows = leaf << k | pattern
    for j in range(k):
        field = entries.field.reshape(len(chosen), k)[:, j]
        pair = np.searchsorted(keys, field * len(bundles.states) + bundles.of_leaf[chosen])
        np.add.at(values, offset[pair][leaf] + state, table[rows, j])
    return base


def part_of(conditions: Conditions, fields: LeafFields, chosen: Ints) -> tuple[Conditions, LeafFields, Ints]:
    """The conditions and fields of the chosen leaves, numbered from 0; and the conditions' old numbers."""
    number = np.full(len(fields.count), -1, dtype=np.int64)
    number[chosen] = np.arange(len(chosen))
    kept = np.flatnonzero(number[conditions.leaf] >= 0)
    new = np.full(len(conditions.leaf), -1, dtype=np.int64)
    new[kept] = np.arange(len(kept))
    exclusions = new[conditions.excluded] >= 0
    part = Conditions(
        leaf=number[conditions.leaf[kept]],
        column=conditions.column[kept],
        lower=conditions.lower[kept],
        upper=conditions.upper[kept],
        missing=conditions.missing[kept],
        excluded=new[conditions.excluded[exclusions]],
        excluded_lower=conditions.excluded_lower[exclusions],
        excluded_upper=conditions.excluded_upper[exclusions],
    )
    entries = np.flatnonzero(number[fields.leaf] >= 0)
    place = np.full(len(fields.leaf), -1, dtype=np.int64)
    place[entries] = np.arange(len(entries))
    count = fields.count[chosen]
    return (
        part,
        LeafFields(
            number[fields.leaf[entries]],
            fields.field[entries],
            fields.bit[entries],
            place[fields.of_condition[kept]],
            count,
            np.concatenate([[0], np.cumsum(count)]),
        ),
        kept,
    )


def _pattern(bits: Flags) -> Ints:
    """(leaves, n) from (leaves, k, n)."""
    found = np.zeros((bits.shape[0], bits.shape[2]), dtype=np.int64)
    for j in range(bits.shape[1]):
        found |= bits[:, j].astype(np.int64) << j
    return found


def _patterns_by_state(
    bundle: Ints, conditions: Conditions, old: Ints, entries: LeafFields, bundles: Bundles, k: int
) -> tuple[Ints, Ints]:
    """Each leaf's pattern for every combination of its bundle's cells, leaf by leaf; and how many those are.

    Built axis by axis: what is known for the axes before is repeated for each cell of the next.
    """
    first_axis = np.searchsorted(bundles.bundle, bundle)
    axes = np.searchsorted(bundles.bundle, bundle, side="right") - first_axis
    by_axis = np.full((len(bundle), int(axes.max(initial=0))), -1, dtype=np.int64)
    by_axis[conditions.leaf, bundles.axis_of[old] - first_axis[conditions.leaf]] = np.arange(len(old))
    length = np.ones(len(bundle), dtype=np.int64)
    pattern = np.full(len(bundle), (1 << k) - 1, dtype=np.int32)
    for step in range(by_axis.shape[1]):
        cells = np.where(axes > step, bundles.cells[np.minimum(first_axis + step, len(bundles.cells) - 1)], 1)
        condition = by_axis[:, step]
        bit = np.where(condition >= 0, 1 << entries.bit[entries.of_condition[condition]], 0).astype(np.int32)
        allowed = bundles.allowed[old[condition]]
        copy = np.repeat(np.arange(len(bundle)), cells)
        cell = np.arange(len(copy)) - np.repeat(np.cumsum(cells) - cells, cells)
        unmet = ((allowed[copy] >> cell.astype(np.uint64)) & np.uint64(1)) == 0
        cleared = np.where(unmet, bit[copy], 0).astype(np.int32)
        starts = np.cumsum(length) - length
        source = np.repeat(starts[copy], length[copy]) + _within(length[copy])
        pattern = pattern[source] & ~np.repeat(cleared, length[copy])
        length = length * cells
    return pattern.astype(np.int64), length


def _within(lengths: Ints) -> Ints:
    """0, 1, ... within each of several ranges of these lengths."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
