"""The leaves of a forest, each with the conditions that an event must meet to reach it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scoring.reasons.graph.ensembles import EQ, GT, GTE, LEQ, LT, MEMBER, NEQ, Ensemble, Flags, Floats, Ints
from scoring.reasons.graph.margin import WeightedEnsemble

# Deeper trees are not followed: in a leaf's pattern, one of 64 bits stands for a field on its path.
_MAX_DEPTH = 60


class ForestTooDeep(Exception):
    """A leaf has more conditions above it than this method can hold."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What leaf `leaf[i]` asks of column `column[i]`: lower <= x < upper, and a missing value only where `missing`.

    Sorted by leaf, then column, each pair once. An infinite bound does not limit. Condition `excluded[j]` also
    forbids `excluded_lower[j]` <= x < `excluded_upper[j]`.
    """

    leaf: Ints
    column: Ints
    lower: Floats
    upper: Floats
    missing: Flags
    excluded: Ints
    excluded_lower: Floats
    excluded_upper: Floats


@dataclass(frozen=True, slots=True)
class Leaves:
    """All leaves of a margin's ensembles.

    `value[leaf]` is what it adds; `parent[leaf]` is its inner node, -1 for a tree of one leaf; `above[node]` is an
    inner node's parent, -1 at a root. `columns` are (tensor, flat index), `owner[column]` is the field of each.
    `compared` is the type that holds all their values as onnxruntime compares them.
    """

    value: Floats
    parent: Ints
    above: Ints
    conditions: Conditions
    columns: tuple[tuple[str, int], ...]
    owner: Ints
    compared: Any


def read_leaves(ensembles: Sequence[WeightedEnsemble], types: Mapping[str, Any]) -> Leaves:
    """Return the leaves; `types` is the dtype of each tensor. Raises ForestTooDeep."""
    columns = sorted({(e.tensor, int(c)) for e in ensembles for c in np.unique(e.ensemble.column)})
    place = {column: number for number, column in enumerate(columns)}
    owners = {(e.tensor, i): owner for e in ensembles for i, owner in enumerate(e.owners) if owner is not None}
    paths = [_paths(e, place, np.dtype(types[e.tensor])) for e in ensembles]
    nodes = np.cumsum([0, *(len(e.ensemble.column) for e in ensembles)])
    counts = np.cumsum([0, *(len(path.value) for path in paths)])
    moved = [path.moved(int(n), int(first)) for path, n, first in zip(paths, nodes, counts, strict=False)]
    return Leaves(
        value=np.concatenate([path.value for path in moved]),
        parent=np.concatenate([path.parent for path in moved]),
        above=np.concatenate([path.above for path in moved]),
        conditions=_merged(np.concatenate([path.steps for path in moved]), int(counts[-1])),
        columns=tuple(columns),
        owner=np.array([owners[column] for column in columns], dtype=np.int64),
        compared=np.result_type(*(compared_type(types[e.tensor]) for e in ensembles)),
    )


def compared_type(dtype: Any) -> Any:
    """Return the type in which onnxruntime compares a tensor's values: float32, unless they are float64."""
    return np.float64 if np.dtype(dtype) == np.float64 else np.float32


# One condition of one node on the way to a leaf. `kind` 0 bounds the value, 1 excludes [lower, upper).
_STEP = np.dtype([("leaf", "i8"), ("column", "i8"), ("kind", "i1"), ("lower", "f8"), ("upper", "f8"), ("missing", "?")])


@dataclass(frozen=True, slots=True)
class _Paths:
    value: Floats
    parent: Ints
    above: Ints
    steps: Any

    def moved(self, nodes: int, leaves: int) -> "_Paths":
        steps = self.steps.copy()
        steps["leaf"] += leaves
        parent, above = self.parent + nodes, self.above + nodes
        return _Paths(self.value, np.where(self.parent < 0, -1, parent), np.where(self.above < 0, -1, above), steps)


def _paths(part: WeightedEnsemble, place: Mapping[tuple[str, int], int], dtype: Any) -> _Paths:
    e = part.ensemble
    inner = len(e.column)
    # Branches are booleans: `came` is that from a node's parent, `branch` that from a leaf's parent.
    above, came = np.full(inner, -1, dtype=np.int64), np.zeros(inner, dtype=bool)
    for children, is_true in ((e.when_true, True), (e.when_false, False)):
        below = children >= 0
        above[children[below]] = np.flatnonzero(below)
        came[children[below]] = is_true
    # A child below 0 is leaf -1 - child. A leaf may hang under both branches of a node: then it counts as two.
    parent = np.concatenate([np.flatnonzero(e.when_true < 0), np.flatnonzero(e.when_false < 0)])
    branch = np.concatenate([np.ones((e.when_true < 0).sum(), bool), np.zeros((e.when_false < 0).sum(), bool)])
    leaf = np.concatenate([-1 - e.when_true[e.when_true < 0], -1 - e.when_false[e.when_false < 0]])
    order = np.argsort(leaf, kind="stable")
    parent, branch, leaf = parent[order], branch[order], leaf[order]
    lone = -1 - e.roots[e.roots < 0]
    steps = []
    tables = _Branches(e, np.array([place[part.tensor, int(c)] for c in e.column], dtype=np.int64), dtype)
    number, node = np.arange(len(leaf)), parent
    for _ in range(_MAX_DEPTH):
        if not len(node):
            break
        steps.append(tables.steps(number, node, branch))
        up = above[node] >= 0
        number, node = number[up], node[up]
        branch, node = came[node], above[node]
    else:
        raise ForestTooDeep(f"a tree of more than {_MAX_DEPTH} levels")
    return _Paths(
        value=part.weights[np.concatenate([leaf, lone])],
        parent=np.concatenate([parent, np.full(len(lone), -1, dtype=np.int64)]),
        above=above,
        steps=np.concatenate(steps) if steps else np.zeros(0, _STEP),
    )


class _Branches:
    """The conditions that the branches of an ensemble's nodes stand for."""

    def __init__(self, ensemble: Ensemble, column: Ints, dtype: Any) -> None:
        compared = compared_type(dtype)
        self._e = ensemble
        self._column = column
        self._compared = compared
        self._value = np.asarray(ensemble.value, compared).astype(np.float64)
        self._after = self._next(self._value)
        self._missing_is_true = ensemble.missing_is_true | (ensemble.mode == NEQ)

    def _next(self, values: Any) -> Floats:
        """The next larger value of the compared type."""
        given = np.asarray(values, self._compared)
        after = np.nextafter(given, np.asarray(np.inf, self._compared), dtype=self._compared)
        return np.asarray(after, np.float64)

    def steps(self, leaf: Ints, node: Ints, branch: Flags) -> Any:
        mode = self._e.mode[node]
        found = np.zeros(len(leaf), _STEP)
        found["leaf"], found["column"] = leaf, self._column[node]
        found["lower"], found["upper"] = -np.inf, np.inf
        found["missing"] = self._missing_is_true[node] == branch
        edge = np.where((mode == LEQ) | (mode == GT), self._after[node], self._value[node])
        below = np.isin(mode, (LEQ, LT)) & branch | np.isin(mode, (GT, GTE)) & ~branch
        above = np.isin(mode, (LEQ, LT)) & ~branch | np.isin(mode, (GT, GTE)) & branch
        found["upper"][below], found["lower"][above] = edge[below], edge[above]
        one = np.isin(mode, (EQ, NEQ))
        found["lower"][one], found["upper"][one] = self._value[node[one]], self._after[node[one]]
        found["kind"] = (mode == EQ) & ~branch | (mode == NEQ) & branch
        members = np.flatnonzero(mode == MEMBER)
        if not len(members):
            return found
        return np.concatenate([np.delete(found, members), *(self._set(found[i], node[i], branch[i]) for i in members)])

    def _set(self, step: Any, node: int, branch: bool) -> Any:
        """Return a set as exclusions: on the true branch all but its members, on the false branch its members."""
        members = np.unique(self._e.members[int(node)]).astype(np.float64)
        after = self._next(members)
        if branch:
            lower, upper = np.concatenate([[-np.inf], after]), np.concatenate([members, [np.inf]])
        else:
            lower, upper = members, after
        found = np.repeat(step, len(lower))
        found["kind"], found["lower"], found["upper"] = 1, lower, upper
        return found


def _merged(steps: Any, leaves: int) -> Conditions:
    """One condition per leaf and column: the narrowest bounds, and a missing value only where all steps let it by."""
    steps = steps[np.lexsort((steps["column"], steps["leaf"]))]
    first = np.ones(len(steps), dtype=bool)
    first[1:] = (np.diff(steps["leaf"]) != 0) | (np.diff(steps["column"]) != 0)
    starts = np.flatnonzero(first)
    condition = np.cumsum(first) - 1
    bounds = steps["kind"] == 0
    excluded = ~bounds
    return Conditions(
        leaf=steps["leaf"][starts],
        column=steps["column"][starts],
        lower=_reduced(np.maximum, np.where(bounds, steps["lower"], -np.inf), starts),
        upper=_reduced(np.minimum, np.where(bounds, steps["upper"], np.inf), starts),
        missing=_reduced(np.logical_and, steps["missing"], starts),
        excluded=condition[excluded],
        excluded_lower=steps["lower"][excluded],
        excluded_upper=steps["upper"][excluded],
    )


def _reduced(function: Any, values: Any, starts: Ints) -> Any:
    return function.reduceat(values, starts) if len(starts) else values[:0]


def met(conditions: Conditions, values: Any) -> Flags:
    """Return whether each of n rows meets each condition: (conditions, n). `values` is (columns, n) float64."""
    x = values[conditions.column]
    # An infinite upper bound is left out, so that x = inf is allowed.
    bounded = ~np.isposinf(conditions.upper)[:, None]
    found: Flags = (x >= conditions.lower[:, None]) & ~(bounded & (x >= conditions.upper[:, None]))
    if len(conditions.excluded):
        row = x[conditions.excluded]
        bounded = ~np.isposinf(conditions.excluded_upper)[:, None]
        hit = (row >= conditions.excluded_lower[:, None]) & ~(bounded & (row >= conditions.excluded_upper[:, None]))
        np.logical_and.at(found, conditions.excluded, ~hit)
    missing = np.isnan(x)
    if missing.any():
        found = np.where(missing, conditions.missing[:, None], found)
    return found
