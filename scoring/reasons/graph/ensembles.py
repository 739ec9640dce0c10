"""Tree ensembles of ai.onnx.ml in one form: TreeEnsembleClassifier, TreeEnsembleRegressor and TreeEnsemble."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

# The numbers that operator TreeEnsemble gives them.
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
LEQ, LT, GTE, GT, EQ, NEQ, MEMBER = range(7)
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
OPERATORS = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"})


class EnsembleUnreadable(Exception):
    """This reader does not follow the ensemble, so its model is explained by sampling."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Trees over the columns of one tensor.

    Node arrays have one entry per inner node; `when_true` and `when_false` are a node's place, or -1 - leaf. A node
    compares column `column` with `value` as its `mode` says; a missing value is true where `missing_is_true`.
    `members[node]` are the values of a BRANCH_MEMBER node. `roots` are places like a child's. `weights` is
    (leaves, targets).
    """

    column: Ints
    mode: Ints
    value: Floats
    when_true: Ints
    when_false: Ints
    missing_is_true: Flags
    members: Mapping[int, Floats]
    roots: Ints
    weights: Floats
    base_values: Floats
    transform: str
    aggregate: str
    # Only a classifier that scores one class of two: its score belongs to the second.
    one_class: bool = False

    @property
    def trees(self) -> int:
        return len(self.roots)


def read_ensemble(node: onnx.NodeProto, attributes: Mapping[str, Any]) -> Ensemble:
    """Return the ensemble of a node; raises EnsembleUnreadable."""
    try:
        found = _read_flat(attributes) if node.op_type == "TreeEnsemble" else _read_keyed(node, attributes)
    except (KeyError, IndexError, ValueError) as error:
        raise EnsembleUnreadable(f"{node.op_type}: {type(error).__name__}") from None
    found = _with_sets(found)
    children = np.concatenate([found.when_true, found.when_false, found.roots])
    inner = children[children >= 0]
    if len(inner) != len(np.unique(inner)) or len(inner) != len(found.column):
        raise EnsembleUnreadable(f"{node.op_type}: its nodes are not trees")
    return found


def _numbers(attributes: Mapping[str, Any], name: str, default: Any = ()) -> Floats:
    """An attribute of floats, which may stand in a tensor instead: NAME_as_tensor."""
    value = attributes.get(f"{name}_as_tensor", attributes.get(name, default))
    return np.asarray(value, dtype=np.float64).reshape(-1)


def _whole(attributes: Mapping[str, Any], name: str) -> Ints:
    return np.asarray(attributes[name], dtype=np.int64).reshape(-1)


def _read_keyed(node: onnx.NodeProto, attributes: Mapping[str, Any]) -> Ensemble:
    """Nodes named by tree and node id, leaves among them."""
    classifier = node.op_type == "TreeEnsembleClassifier"
    trees, ids = _whole(attributes, "nodes_treeids"), _whole(attributes, "nodes_nodeids")
    names = np.array([text.decode() if isinstance(text, bytes) else text for text in attributes["nodes_modes"]])
    key = _Keys(trees, ids)
    leaf = names == "LEAF"
    place = np.where(leaf, -np.cumsum(leaf), np.cumsum(~leaf) - 1)  # of each node among its own kind
    inner = ~leaf
    modes = np.array([MODES.index(name) for name in names[inner]], dtype=np.int64)
    if (modes == MEMBER).any():
        raise EnsembleUnreadable(f"{node.op_type}: BRANCH_MEMBER belongs to TreeEnsemble")
    missing = np.asarray(attributes.get("nodes_missing_value_tracks_true", np.zeros(len(ids))), dtype=bool)
    missing = missing if len(missing) == len(ids) else np.zeros(len(ids), dtype=bool)
    prefix = "class" if classifier else "target"
    kinds = _whole(attributes, f"{prefix}_ids")
    weights, one_class = _leaf_weights(
        -1 - place[key.find(_whole(attributes, f"{prefix}_treeids"), _whole(attributes, f"{prefix}_nodeids"))],
        kinds,
        _numbers(attributes, f"{prefix}_weights"),
        int(leaf.sum()),
        _classes(attributes) if classifier else int(attributes.get("n_targets", 1)),
        classifier=classifier,
    )
    first = np.sort(np.unique(trees, return_index=True)[1])
    return Ensemble(
        column=_whole(attributes, "nodes_featureids")[inner],
        mode=modes,
        value=_numbers(attributes, "nodes_values")[inner],
        when_true=place[key.find(trees[inner], _whole(attributes, "nodes_truenodeids")[inner])],
        when_false=place[key.find(trees[inner], _whole(attributes, "nodes_falsenodeids")[inner])],
        missing_is_true=missing[inner],
        members={},
        roots=place[first],
        weights=weights,
        base_values=_numbers(attributes, "base_values"),
        transform=attributes.get("post_transform", "NONE"),
        aggregate=attributes.get("aggregate_function", "SUM"),
        one_class=one_class,
    )


class _Keys:
    """Finds nodes by tree and node id."""

    def __init__(self, trees: Ints, ids: Ints) -> None:
        self._span = int(ids.max(initial=0)) + 1
        keys = trees * self._span + ids
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def find(self, trees: Ints, ids: Ints) -> Ints:
        keys = trees * self._span + ids
        places = np.searchsorted(self._sorted, keys)
        if len(keys) and (places.max() >= len(self._sorted) or (self._sorted[places] != keys).any()):
            raise EnsembleUnreadable("a node that it names is not there")
        return self._order[places]


def _classes(attributes: Mapping[str, Any]) -> int:
    return max(len(attributes.get("classlabels_int64s", ())), len(attributes.get("classlabels_strings", ())))


def _leaf_weights(
    leaves: Ints, kinds: Ints, values: Floats, count: int, targets: int, *, classifier: bool
) -> tuple[Floats, bool]:
    """Weights by leaf and target, and whether they all belong to one class of two."""
    one_class = classifier and targets == 2 and len(np.unique(kinds)) == 1
    if one_class:
        kinds, targets = np.zeros_like(kinds), 1
    weights = np.zeros((count, targets))
    np.add.at(weights, (leaves, kinds), values)
    return weights, one_class


def _read_flat(attributes: Mapping[str, Any]) -> Ensemble:
    """Nodes and leaves in lists of their own, as TreeEnsemble of version 5 has them."""
    modes = np.asarray(attributes["nodes_modes"], dtype=np.int64).reshape(-1)
    split = _numbers(attributes, "nodes_splits")
    roots = _whole(attributes, "tree_roots")
    ids = _whole(attributes, "leaf_targetids")
    true_leaf, false_leaf = _whole(attributes, "nodes_trueleafs"), _whole(attributes, "nodes_falseleafs")
    to_true, to_false = _whole(attributes, "nodes_truenodeids"), _whole(attributes, "nodes_falsenodeids")
    missing = np.asarray(attributes.get("nodes_missing_value_tracks_true", np.zeros(len(modes))), dtype=bool)
    weights = np.zeros((len(ids), int(attributes.get("n_targets", 1))))
    weights[np.arange(len(ids)), ids] = _numbers(attributes, "leaf_weights")
    return Ensemble(
        column=_whole(attributes, "nodes_featureids"),
        mode=modes,
        value=split,
        when_true=np.where(true_leaf == 1, -1 - to_true, to_true),
        when_false=np.where(false_leaf == 1, -1 - to_false, to_false),
        missing_is_true=missing if len(missing) == len(modes) else np.zeros(len(modes), dtype=bool),
        members=_members(modes, _numbers(attributes, "membership_values")),
        roots=roots,
        weights=weights,
        base_values=np.zeros(0),
        transform=_TRANSFORMS[int(attributes.get("post_transform", 0))],
        aggregate=_AGGREGATES[int(attributes.get("aggregate_function", 1))],
    )


def _members(modes: Ints, values: Floats) -> dict[int, Floats]:
    """The sets of BRANCH_MEMBER nodes, which `values` lists in node order with a NaN after each."""
    nodes = np.flatnonzero(modes == MEMBER)
    sets: list[Floats] = []
    start = 0
    for end in np.flatnonzero(np.isnan(values)):
        sets.append(values[start:end])
        start = int(end) + 1
    if start < len(values):
        sets.append(values[start:])
    if len(sets) != len(nodes):
        raise EnsembleUnreadable("membership_values does not match its nodes")
    return dict(zip(nodes.tolist(), sets, strict=True))


def _with_sets(e: Ensemble) -> Ensemble:
    """Turn chains of BRANCH_EQ that share their true branch, which LightGBM's sets of categories become, into sets."""
    equal = e.mode == EQ
    nodes = np.flatnonzero(equal & (e.when_false >= 0))
    after = e.when_false[nodes]
    same = (
        equal[after]
        & (e.column[after] == e.column[nodes])
        & (e.when_true[after] == e.when_true[nodes])
        & (e.missing_is_true[after] == e.missing_is_true[nodes])
    )
    follower = dict(zip(nodes[same].tolist(), after[same].tolist(), strict=True))
    if not follower:
        return e
    swallowed = set(follower.values())
    mode, when_false, members = e.mode.copy(), e.when_false.copy(), dict(e.members)
    for head in sorted(follower.keys() - swallowed):
        values, node = [e.value[head]], head
        while node in follower and len(values) < len(mode):
            node = follower[node]
            values.append(e.value[node])
        mode[head], when_false[head], members[head] = MEMBER, e.when_false[node], np.array(values)
    return _without(replace(e, mode=mode, when_false=when_false, members=members), sorted(swallowed))


def _without(e: Ensemble, nodes: list[int]) -> Ensemble:
    """The ensemble without nodes that nothing leads to any more."""
    kept = np.ones(len(e.column), dtype=bool)
    kept[nodes] = False
    new = np.cumsum(kept) - 1

    def renumbered(children: Ints) -> Ints:
        return np.where(children >= 0, new[np.maximum(children, 0)], children)

    return replace(
        e,
        column=e.column[kept],
        mode=e.mode[kept],
        value=e.value[kept],
        when_true=renumbered(e.when_true[kept]),
        when_false=renumbered(e.when_false[kept]),
        missing_is_true=e.missing_is_true[kept],
        members={int(new[node]): values for node, values in e.members.items()},
        roots=renumbered(e.roots),
    )
