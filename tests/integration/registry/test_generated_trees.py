"""Generated tree ensembles, inspected and scored as they are served: an evaluator of a few lines agrees on every row.

Source of the rules: ONNX, ai.onnx.ml TreeEnsembleRegressor 3.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from registry.feed import PayloadInvalid
from registry.inspection.child import inspect
from registry.inspection.metadata import ModelMetadata
from registry.model_session import ModelSession

NAMES = ("a", "b", "c")
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "BRANCH_LEQ": operator.le,
    "BRANCH_LT": operator.lt,
    "BRANCH_GTE": operator.ge,
    "BRANCH_GT": operator.gt,
    "BRANCH_EQ": operator.eq,
    "BRANCH_NEQ": operator.ne,
}
THRESHOLDS = [float(np.float32(value)) for value in (-2.5, -1.0, 0.0, 0.1, 1.0, 2.0, 3.0, 1e-30, 16_777_217.0)]
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Leaf:
    weight: float


@dataclass(frozen=True)
class Branch:
    """A missing value goes to `yes` when it `tracks` true, and else to `no`."""

    feature: int
    mode: str
    threshold: float
    tracks: bool
    yes: "Branch | Leaf"
    no: "Branch | Leaf"


def evaluated(node: Branch | Leaf, row: list[float]) -> float:
    while isinstance(node, Branch):
        value = row[node.feature]
        # NaN differs from every threshold: onnxruntime sends it to the true branch of BRANCH_NEQ in either case.
        follows = (node.tracks and math.isnan(value)) or COMPARISONS[node.mode](value, node.threshold)
        node = node.yes if follows else node.no
    return node.weight


def trees(modes: st.SearchStrategy[str]) -> st.SearchStrategy[Branch | Leaf]:
    leaves = st.builds(Leaf, st.integers(-8, 8).map(lambda eighths: eighths / 8))

    def branches(children: st.SearchStrategy[Branch | Leaf]) -> st.SearchStrategy[Branch | Leaf]:
        features, thresholds = st.integers(0, len(NAMES) - 1), st.sampled_from(THRESHOLDS)
        return st.builds(Branch, features, modes, thresholds, st.booleans(), children, children)

    return st.recursive(leaves, branches, max_leaves=12)


# Runtimes take another path for an ensemble whose branches all compare alike.
ENSEMBLES = st.one_of(
    *(st.lists(trees(st.just(mode)), min_size=1, max_size=4) for mode in COMPARISONS),
    st.lists(trees(st.sampled_from(list(COMPARISONS))), min_size=1, max_size=4),
)
VALUES = st.sampled_from(
    [
        math.nan,
        0.5,
        -1e30,
        1e30,
        *THRESHOLDS,
        *(float(np.nextafter(np.float32(value), np.float32(side))) for value in THRESHOLDS for side in (-9e9, 9e9)),
    ]
)
ROWS = st.lists(st.lists(VALUES, min_size=len(NAMES), max_size=len(NAMES)), min_size=1, max_size=30)


def model(ensemble: list[Branch | Leaf]) -> onnx.ModelProto:
    """The sum of the trees, through a sigmoid."""
    attributes: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    }
    attributes |= {"nodes_missing_value_tracks_true": []}
    attributes |= {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}

    def add(tree: int, node: Branch | Leaf) -> int:
        place = len(attributes["nodes_nodeids"]) - first
        values = (tree, place, 0, "LEAF", 0.0, 0, 0, 0)
        if isinstance(node, Branch):
            values = (tree, place, node.feature, node.mode, node.threshold, 0, 0, int(node.tracks))
        for name, value in zip(list(attributes)[:8], values, strict=True):
            attributes[name].append(value)
        if isinstance(node, Branch):
            attributes["nodes_truenodeids"][first + place] = add(tree, node.yes)
            attributes["nodes_falsenodeids"][first + place] = add(tree, node.no)
        else:
            for name, value in zip(list(attributes)[8:], (tree, place, 0, node.weight), strict=True):
                attributes[name].append(value)
        return place

    for number, tree in enumerate(ensemble):
        first = len(attributes["nodes_nodeids"])
        add(number, tree)
    graph = helper.make_graph(
        [
            helper.make_node(
                "TreeEnsembleRegressor", ["X"], ["margin"], domain="ai.onnx.ml", n_targets=1, **attributes
            ),
            helper.make_node("Sigmoid", ["margin"], ["p"]),
        ],
        "trees",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(NAMES)])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 1])],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trees") / "trees.onnx"


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(ensemble=ENSEMBLES, rows=ROWS)
def test_a_generated_ensemble_is_served_as_the_rules_of_onnx_say(
    path: Path, ensemble: list[Branch | Leaf], rows: list[list[float]]
) -> None:
    path.write_bytes(model(ensemble).SerializeToString())
    signature = inspect(path, ModelMetadata(features=NAMES, nullable="all")).signature
    session = ModelSession(signature, path)
    payloads = [{name: None if math.isnan(v) else v for name, v in zip(NAMES, row, strict=True)} for row in rows]
    served = session.score([session.feed.row(payload) for payload in payloads])
    margins = [sum(evaluated(tree, row) for tree in ensemble) for row in rows]
    assert served == pytest.approx([1 / (1 + math.exp(-margin)) for margin in margins], abs=TOLERANCE)


def test_infinity_never_reaches_a_tree(path: Path) -> None:
    ensemble: list[Branch | Leaf] = [Branch(0, "BRANCH_LEQ", 0.0, False, Leaf(-1.0), Leaf(1.0))]
    path.write_bytes(model(ensemble).SerializeToString())
    session = ModelSession(inspect(path, ModelMetadata(features=NAMES)).signature, path)
    with pytest.raises(PayloadInvalid, match="/a is out of range"):
        session.feed.row({"a": math.inf, "b": 0.0, "c": 0.0})
