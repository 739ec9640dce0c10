"""Tables for deep leaves: a leaf whose columns have too many combinations of cells gets one bit per condition instead.

The cells of a column are then two: its condition is met, or it is not. A value passes a condition's lower bound into
cell 1, and its upper bound back into cell 0.
"""

from dataclasses import replace

import numpy as np

from scoring.reasons.graph.ensembles import Ints
from scoring.reasons.shapley.bundles import Bundles
from scoring.reasons.shapley.leaves import Leaves

# Conditions of one leaf, whose table has 2 to that power rows.
MAX_BITS = 14


def with_bits(leaves: Leaves, bundles: Bundles, max_bytes: int) -> Bundles:
    """Add a bundle for each leaf that is in none and fits, those of the fewest conditions first.

    A leaf with exclusions, or with bounds that nothing can meet, fits none.
    """
    c = leaves.conditions
    chosen = _fitting(leaves, bundles, max_bytes)
    if not len(chosen):
        return bundles
    of_leaf = bundles.of_leaf.copy()
    of_leaf[chosen] = len(bundles.states) + np.arange(len(chosen))
    inside = np.flatnonzero(of_leaf[c.leaf] >= len(bundles.states))
    owner = of_leaf[c.leaf[inside]]
    bit = np.arange(len(inside)) - np.searchsorted(owner, owner)
    axis = len(bundles.bundle) + np.arange(len(inside))
    lower, upper = c.lower[inside], c.upper[inside]
    finite_lower, finite_upper = np.isfinite(lower), np.isfinite(upper)
    # Both cuts of an axis, the lower one first: the bounds of a condition that can be met are in this order.
    cuts = np.concatenate([axis[finite_lower], axis[finite_upper]])
    steps = np.repeat([1, -1], [finite_lower.sum(), finite_upper.sum()])
    order = np.argsort(cuts, kind="stable")
    axis_of, allowed = bundles.axis_of.copy(), bundles.allowed.copy()
    axis_of[inside], allowed[inside] = axis, np.uint64(0b10)
    return replace(
        bundles,
        of_leaf=of_leaf,
        states=np.concatenate([bundles.states, 1 << np.bincount(owner)[len(bundles.states) :]]),
        bundle=np.concatenate([bundles.bundle, owner]),
        column=np.concatenate([bundles.column, c.column[inside]]),
        cells=np.concatenate([bundles.cells, np.full(len(inside), 2)]),
        stride=np.concatenate([bundles.stride, 1 << bit]),
        first_cell=np.concatenate([bundles.first_cell, np.isneginf(lower).astype(np.int64)]),
        missing_cell=np.concatenate([bundles.missing_cell, c.missing[inside].astype(np.int64)]),
        cut_axis=np.concatenate([bundles.cut_axis, cuts[order]]),
        cut_value=np.concatenate(
            [bundles.cut_value, np.concatenate([lower[finite_lower], upper[finite_upper]])[order]]
        ),
        cut_step=np.concatenate([bundles.cut_step, steps[order]]),
        axis_of=axis_of,
        allowed=allowed,
    )


def _fitting(leaves: Leaves, bundles: Bundles, max_bytes: int) -> Ints:
    c = leaves.conditions
    count = np.bincount(c.leaf, minlength=len(leaves.value))
    fits = (bundles.of_leaf < 0) & (count <= MAX_BITS)
    fits[c.leaf[c.excluded]] = False
    fits[c.leaf[c.lower >= c.upper]] = False
    chosen = np.flatnonzero(fits)
    chosen = chosen[np.argsort(count[chosen], kind="stable")]
    table_bytes = 4 * count[chosen] << count[chosen]
    return np.sort(chosen[np.cumsum(table_bytes) <= max_bytes])
