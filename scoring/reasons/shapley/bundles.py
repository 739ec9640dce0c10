"""Leaves bundled into small subtrees, and the cells that the columns of a bundle fall into.

All leaves of a subtree depend on the same few columns. Each column's thresholds within the subtree cut its values into
cells; which cell each column is in decides which of the leaves are reached. One table row per combination of cells then
replaces one table per leaf: fewer look-ups per event, and less memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scoring.reasons.graph.ensembles import Floats, Ints
from scoring.reasons.shapley.leaves import Leaves

Masks = np.ndarray[Any, np.dtype[np.uint64]]

# Leaves in one bundle, tried in this order.
SIZES = (4, 2, 1)
# Combinations of cells in one bundle, which is the number of rows of its table.
MAX_STATES = 1_024
# A column's cells are bits of one word, with one to spare for a missing value.
_MAX_CELLS = 62


@dataclass(frozen=True, slots=True)
class Bundles:
    """Bundles of leaves; their arrays are sorted by bundle.

    `of_leaf[leaf]` is the bundle of a leaf, -1 for a leaf that is in none. Bundle b has `states[b]` combinations. A
    column of a bundle is an *axis*: axis a belongs to bundle `bundle[a]` and column `column[a]`, has `cells[a]`
    cells, counts `stride[a]` in the combination's number, and has a missing value in cell `missing_cell[a]`. Values
    below all cuts are in cell `first_cell[a]`; a cut says that its axis is `cut_step` cells further from `cut_value`
    on. `axis_of[i]` is the axis of condition i of the leaves (-1 where the leaf is in no bundle), `allowed[i]` has
    the bits of the cells that meet it.
    """

    of_leaf: Ints
    states: Ints
    bundle: Ints
    column: Ints
    cells: Ints
    stride: Ints
    first_cell: Ints
    missing_cell: Ints
    cut_axis: Ints
    cut_value: Floats
    cut_step: Ints
    axis_of: Ints
    allowed: Masks


def bundle(leaves: Leaves, max_states: int = MAX_STATES) -> Bundles:
    """Put each leaf into the largest bundle of at most `max_states` combinations; some may fit none."""
    roots = np.full(len(leaves.value), -1, dtype=np.int64)
    free = np.ones(len(roots), dtype=bool)
    nodes = len(leaves.above)
    for size in SIZES:
        if not free.any():
            break
        # A subtree is named by its inner node, and one of a single leaf by a number beyond all nodes.
        tops = np.where(free, _tops(leaves, size), -1)
        fitting = _fitting(leaves, tops, max_states)
        roots[fitting] = tops[fitting] + size * 2 * (nodes + len(roots))
        free &= ~fitting
    return _cells(leaves, roots)[0]


def _tops(leaves: Leaves, size: int) -> Ints:
    """For each leaf the highest node above it with at most `size` leaves below."""
    count = np.zeros(len(leaves.above), dtype=np.int64)
    node = leaves.parent[leaves.parent >= 0]
    while len(node):
        np.add.at(count, node, 1)
        node = leaves.above[node]
        node = node[node >= 0]
    top = len(leaves.above) + np.arange(len(leaves.value))
    node = leaves.parent.copy()
    climbing = node >= 0
    while climbing.any():
        climbing[climbing] = count[node[climbing]] <= size
        top[climbing] = node[climbing]
        node[climbing] = leaves.above[node[climbing]]
        climbing &= node >= 0
    return top


def _fitting(leaves: Leaves, tops: Ints, max_states: int) -> Any:
    bundles, too_many = _cells(leaves, tops)
    inside = bundles.of_leaf >= 0
    fits = (bundles.states > 0) & (bundles.states <= max_states) & ~too_many
    return inside & fits[bundles.of_leaf]


def _cells(leaves: Leaves, roots: Ints) -> tuple[Bundles, Any]:
    """Cut the columns of the bundles that `roots` names (-1: none); also returns which bundles have too many cells."""
    c = leaves.conditions
    names, of_leaf = np.unique(roots, return_inverse=True)
    of_leaf = of_leaf - (1 if len(names) and names[0] == -1 else 0)
    count = len(names) - (1 if len(names) and names[0] == -1 else 0)
    owner = of_leaf[c.leaf]
    inside = owner >= 0
    key = owner * (len(leaves.columns) + 1) + c.column
    if not inside.any():
        return _without_axes(of_leaf, count, len(key)), np.zeros(count, dtype=bool)
    axes, axis_of = np.unique(key[inside], return_inverse=True)
    axis = np.full(len(key), -1, dtype=np.int64)
    axis[inside] = axis_of
    bundle_of, column = axes // (len(leaves.columns) + 1), axes % (len(leaves.columns) + 1)
    cut_axis, cut_value = _cuts(leaves, axis)
    first = np.searchsorted(cut_axis, np.arange(len(axes)))
    cells = np.bincount(cut_axis, minlength=len(axes)) + 1
    lower, upper = _cell_ranges(c.lower, c.upper, axis, cut_axis, cut_value, first, cells)
    allowed = _bits(lower, upper, np.minimum(cells[axis], _MAX_CELLS))
    if len(c.excluded):
        kept = axis[c.excluded] >= 0
        which = c.excluded[kept]
        out = _cell_ranges(
            c.excluded_lower[kept], c.excluded_upper[kept], axis[which], cut_axis, cut_value, first, cells
        )
        np.bitwise_and.at(allowed, which, ~_bits(*out, np.minimum(cells[axis[which]], _MAX_CELLS)))
    missing, cells, allowed = _missing_cells(c.leaf, c.missing, axis, allowed, cells)
    logs = np.bincount(bundle_of, weights=np.log2(cells), minlength=count)
    many = np.zeros(count, dtype=bool)
    many[bundle_of[cells > _MAX_CELLS]] = True
    many |= logs > 40
    stride = _strides(bundle_of, np.where(many[bundle_of], 1, cells))
    states = np.ones(count, dtype=np.int64)
    np.maximum.at(states, bundle_of, stride * np.where(many[bundle_of], 1, cells))
    found = Bundles(
        of_leaf=of_leaf,
        states=states,
        bundle=bundle_of,
        column=column,
        cells=cells,
        stride=stride,
        first_cell=np.zeros(len(axes), dtype=np.int64),
        missing_cell=missing,
        cut_axis=cut_axis,
        cut_value=cut_value,
        cut_step=np.ones(len(cut_axis), dtype=np.int64),
        axis_of=axis,
        allowed=allowed,
    )
    return found, many


def _without_axes(of_leaf: Ints, count: int, conditions: int) -> Bundles:
    none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    states, axis = np.ones(count, dtype=np.int64), np.full(conditions, -1, dtype=np.int64)
    masks = np.zeros(conditions, dtype=np.uint64)
    return Bundles(of_leaf, states, none, none, none, none, none, none, none, nothing, none, axis, masks)


def _cuts(leaves: Leaves, axis: Ints) -> tuple[Ints, Floats]:
    """The distinct finite bounds of each axis, sorted by axis and value."""
    c = leaves.conditions
    axes = np.concatenate([axis, axis, axis[c.excluded], axis[c.excluded]])
    values = np.concatenate([c.lower, c.upper, c.excluded_lower, c.excluded_upper])
    kept = (axes >= 0) & np.isfinite(values)
    axes, values = axes[kept], values[kept]
    order = np.lexsort((values, axes))
    axes, values = axes[order], values[order]
    first = np.ones(len(axes), dtype=bool)
    first[1:] = (np.diff(axes) != 0) | (np.diff(values) != 0)
    return axes[first], values[first]


def _cell_ranges(
    lower: Floats, upper: Floats, axis: Ints, cut_axis: Ints, cut_value: Floats, first: Ints, cells: Ints
) -> tuple[Ints, Ints]:
    """The cells [from, to) that lie within [lower, upper): bounds are cuts themselves."""
    found = []
    for bound, endless in ((lower, np.zeros(len(axis), np.int64)), (upper, cells[axis])):
        place = endless.copy()
        finite = np.flatnonzero(np.isfinite(bound) & (axis >= 0))
        place[finite] = _find(cut_axis, cut_value, axis[finite], bound[finite]) - first[axis[finite]] + 1
        found.append(place)
    return found[0], found[1]


def _find(cut_axis: Ints, cut_value: Floats, axis: Ints, value: Floats) -> Ints:
    """Where (axis, value) stands among the cuts, which hold it."""
    order = np.lexsort((value, axis))
    changed = np.ones(len(order), dtype=bool)
    changed[1:] = (np.diff(axis[order]) != 0) | (np.diff(value[order]) != 0)
    numbers = np.cumsum(changed) - 1
    # The distinct ones among them, found in one pass over both sorted lists.
    keys = np.concatenate([cut_axis, axis[order][changed]])
    values = np.concatenate([cut_value, value[order][changed]])
    merged = np.lexsort((np.arange(len(keys)), values, keys))
    place = np.zeros(len(keys), dtype=np.int64)
    place[merged] = np.cumsum(merged < len(cut_axis)) - 1
    found = np.zeros(len(axis), dtype=np.int64)
    found[order] = place[len(cut_axis) :][numbers]
    return found


def _bits(start: Ints, end: Ints, cells: Ints) -> Masks:
    one = np.uint64(1)
    start, end = np.clip(start, 0, cells).astype(np.uint64), np.clip(end, 0, cells).astype(np.uint64)
    high, low = (one << end) - one, (one << start) - one
    return np.where(end > start, high & ~low, np.uint64(0))


def _missing_cells(leaf: Ints, missing: Any, axis: Ints, allowed: Masks, cells: Ints) -> tuple[Ints, Ints, Masks]:
    """The cell that a missing value counts as: one that lets the same leaves by, else one more.

    Sets of leaves are compared by the sum of a random number for each leaf.
    """
    inside = axis >= 0
    marks = _marks(leaf[inside])
    axes, bits = axis[inside], allowed[inside]
    wanted = np.zeros(len(cells), dtype=np.uint64)
    np.add.at(wanted, axes, np.where(missing[inside], marks, np.uint64(0)))
    place = np.full(len(cells), -1, dtype=np.int64)
    for cell in range(min(int(cells.max(initial=0)), _MAX_CELLS)):
        having = (bits >> np.uint64(cell)) & np.uint64(1)
        sums = np.zeros(len(cells), dtype=np.uint64)
        np.add.at(sums, axes, marks * having)
        place[(place < 0) & (sums == wanted) & (cells > cell)] = cell
    more = place < 0
    place[more] = cells[more]
    extra = inside & missing & more[axis]
    allowed = allowed.copy()
    allowed[extra] |= np.uint64(1) << np.minimum(cells[axis[extra]], _MAX_CELLS + 1).astype(np.uint64)
    return place, cells + more, allowed


def _marks(leaf: Ints) -> Masks:
    """A 64-bit number per leaf that looks random: splitmix64 (Steele, Lea, Flood 2014)."""
    z = (leaf.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _strides(bundle_of: Ints, cells: Ints) -> Ints:
    """The product of the cells of the axes before it in its bundle."""
    stride = np.ones(len(cells), dtype=np.int64)
    first = np.searchsorted(bundle_of, bundle_of)
    place = np.arange(len(cells)) - first
    for step in range(1, int(place.max(initial=0)) + 1):
        here = np.flatnonzero(place == step)
        stride[here] = stride[here - 1] * cells[here - 1]
    return stride
