"""What converters and frameworks put between a payload and its score: each graph is read, and adds up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from scoring.reasons.explanation import additive
from tests.support.brute_force import log_odds, shapley
from tests.support.explained_models import open_model
from tests.support.tree_graphs import ML, Trees, graph

RNG = np.random.default_rng(20_261_202)
NAMES = ("a", "b", "c", "d")
WEIGHTS = np.array([[0.5, -0.3], [0.1, 0.4], [-0.6, 0.2], [0.3, 0.3]], np.float32)
ROWS = [
    dict(zip(NAMES, row, strict=True)) for row in RNG.normal(size=(14, 4)).astype(np.float32).astype(float).tolist()
]


def node(kind: str, given: str, put: str, **attributes: Any) -> onnx.NodeProto:
    domain = (
        ML if kind in ("Scaler", "ArrayFeatureExtractor", "LinearRegressor", "FeatureVectorizer", "Imputer") else ""
    )
    return helper.make_node(kind, given.split(), put.split(), domain=domain, **attributes)


def trees(given: str, put: str) -> onnx.NodeProto:
    made = Trees(np.random.default_rng(5), trees=4, depth=3, fields=4, modes=["LEQ"])
    for place in made.nodes:
        place["value"] /= 4
    return made.keyed(given, put, tracks=False)


GRAPHS: dict[str, Sequence[onnx.NodeProto]] = {
    "Gemm and two-column Softmax": [
        node("Gemm", "x w bias", "z", alpha=0.5, beta=2.0),
        node("Softmax", "z", "p", axis=1),
    ],
    "Gemm of a transposed matrix": [node("Gemm", "x wt", "z", transB=1), node("Softmax", "z", "p", axis=-1)],
    "scaled, sliced and joined columns": [
        node("Scaler", "x", "s", offset=[0.1, 0.2, 0.3, 0.4], scale=[2.0, 3.0, 0.5, 1.0]),
        node("Slice", "s zero two axis", "left"),
        node("Slice", "s two four axis", "right"),
        node("Concat", "right left", "moved", axis=1),
        trees("moved", "m"),
        node("Sigmoid", "m", "p"),
    ],
    "gathered and extracted columns": [
        node("Gather", "x order", "g", axis=1),
        node("ArrayFeatureExtractor", "g back", "e"),
        trees("e", "m"),
        node("Sigmoid", "m", "p"),
    ],
    "columns bent one by one": [
        node("Exp", "x", "e"),
        node("Clip", "e", "c"),
        node("Tanh", "c", "t"),
        node("Add", "t one", "u"),
        trees("u", "m"),
        node("Sigmoid", "m", "p"),
    ],
    "the mean of two ensembles": [
        trees("x", "m1"),
        node("Neg", "x", "n"),
        trees("n", "m2"),
        node("Mean", "m1 m2", "m"),
        node("Sigmoid", "m", "p"),
    ],
    "a sum over columns": [
        node("MatMul", "x w", "z"),
        node("ReduceSum", "z axis", "m", keepdims=1),
        node("Sigmoid", "m", "p"),
    ],
    "the logistic function written out": [
        trees("x", "m"),
        node("Mul", "m minus", "n"),
        node("Exp", "n", "e"),
        node("Add", "e one", "d"),
        node("Div", "one d", "p"),
    ],
    "a linear regressor under a Sigmoid": [
        node("LinearRegressor", "x", "m", coefficients=[0.25, -0.5, 0.0, 0.4], intercepts=[0.1], targets=1),
        node("Sigmoid", "m", "p"),
    ],
    "reshaped and transposed columns": [
        node("Reshape", "x shape", "r"),
        node("Transpose", "r", "t", perm=[0, 2, 1]),
        node("Flatten", "t", "f"),
        trees("f", "m"),
        node("Sigmoid", "m", "p"),
    ],
}  # fmt: skip
CONSTANTS = {
    "w": WEIGHTS,
    "wt": np.ascontiguousarray(WEIGHTS.T),
    "bias": np.array([0.2, -0.1], np.float32),
    "zero": np.array([0]),
    "two": np.array([2]),
    "four": np.array([4]),
    "axis": np.array([1]),
    "order": np.array([2, 0, 3, 1]),
    "back": np.array([[1, 3, 0, 2]]),
    "one": np.float32(1),
    "minus": np.float32(-1),
    "shape": np.array([-1, 2, 2]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_graph_is_read_and_explained_exactly(name: str, tmp_path: Path) -> None:
    nodes = GRAPHS[name]
    used = {tensor for one in nodes for tensor in one.input}
    constants = {tensor: value for tensor, value in CONSTANTS.items() if tensor in used}
    opened = open_model(graph(nodes, 4, constants=constants), tmp_path, ROWS, features=NAMES)
    background, events = opened.rows[:10], opened.rows[10:]
    explainer = opened.explainer(background)
    assert (explainer.sampled_because, explainer.scale) == (None, "log_odds")
    impacts = explainer.explain(events, [""] * len(events))
    assert additive(impacts, opened.session.score(events)).all()
    for row, values in zip(events, impacts.values, strict=True):
        base, expected = shapley(lambda rows: log_odds(opened.session.score(rows)), row, background)
        assert impacts.base == pytest.approx(base, abs=2e-6)
        assert values == pytest.approx(expected, abs=2e-6)


def test_a_branch_inside_the_graph_is_explained_by_sampling(tmp_path: Path) -> None:
    """A sub-graph reads tensors from outside it, which none of the node's own inputs names."""
    parts = [
        helper.make_graph([helper.make_node(kind, ["x"], [f"y{kind}"])], kind, [], [
            helper.make_tensor_value_info(f"y{kind}", TensorProto.FLOAT, None)
        ])
        for kind in ("Abs", "Neg")
    ]  # fmt: skip
    nodes = [
        helper.make_node("If", ["yes"], ["y"], then_branch=parts[0], else_branch=parts[1]),
        node("ReduceSum", "y axis", "m", keepdims=1),
        node("Sigmoid", "m", "p"),
    ]
    constants = {"yes": np.array(True), "axis": np.array([1])}
    opened = open_model(graph(nodes, 4, constants=constants), tmp_path, ROWS, features=NAMES)
    explainer = opened.explainer(opened.rows[:10])
    assert explainer.method == "sampled"
    assert additive(explainer.explain(opened.rows[10:], ["s"] * 4), opened.session.score(opened.rows[10:])).all()
