"""Trees of every operator, branch mode and missing-value track, against all coalitions scored by the runtime."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from scoring.reasons.explanation import additive
from tests.support.brute_force import shapley
from tests.support.explained_models import Opened, open_model
from tests.support.tree_graphs import MODES, VALUES, Trees, graph

FIELDS = 5
NAMES = tuple("abcde")
Explained = Callable[..., None]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20_261_127)


def payloads(rng: np.random.Generator, *, blanks: bool) -> list[dict[str, Any]]:
    rows = rng.choice(VALUES, size=(24, FIELDS))
    empty = rng.random(rows.shape) < (0.3 if blanks else 0.0)
    return [
        {name: None if gap else float(value) for name, value, gap in zip(NAMES, row, gaps, strict=True)}
        for row, gaps in zip(rows, empty, strict=True)
    ]


def sigmoid_of(nodes: Sequence[onnx.NodeProto], margin: str) -> list[onnx.NodeProto]:
    return [*nodes, helper.make_node("Sigmoid", [margin], ["p"])]


def opened(model: onnx.ModelProto, folder: Path, rows: list[dict[str, Any]], **declared: Any) -> Opened:
    return open_model(model, folder, rows, features=NAMES, **({"nullable": "all"} | declared))


def assert_exact(model: Opened, scale: str = "log_odds", *, tolerance: float = 2e-6) -> None:
    background, events = model.rows[:12], model.rows[12:18]
    explainer = model.explainer(background)
    assert (explainer.method, explainer.scale, explainer.sampled_because) == ("exact", scale, None)
    impacts = explainer.explain(events, [""] * len(events))
    assert additive(impacts, model.session.score(events)).all()
    for row, values in zip(events, impacts.values, strict=True):
        base, expected = shapley(model.margins(scale), row, background)
        assert impacts.base == pytest.approx(base, abs=tolerance)
        assert values == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("blanks", [False, True], ids=["whole", "with blanks"])
@pytest.mark.parametrize("tracks", [False, True], ids=["untracked", "tracked"])
@pytest.mark.parametrize("mode", MODES)
def test_each_branch_mode_is_read_as_the_runtime_runs_it(
    mode: str, tracks: bool, blanks: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    trees = Trees(rng, trees=4, depth=4, fields=FIELDS, modes=[mode])
    trees.roots = [root for root in trees.roots if root[0] == "node"]
    model = graph(sigmoid_of([trees.flat("x", "m", tracks=tracks)], "m"), FIELDS, version=5)
    assert_exact(opened(model, tmp_path, payloads(rng, blanks=blanks)))


@pytest.mark.parametrize("tracks", [False, True], ids=["untracked", "tracked"])
def test_trees_of_mixed_modes_with_blanks_are_read_as_the_runtime_runs_them(
    tracks: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    trees = Trees(rng, trees=6, depth=5, fields=FIELDS, modes=MODES[:-1])
    model = graph(sigmoid_of([trees.keyed("x", "m", tracks=tracks, base=-0.4)], "m"), FIELDS)
    assert_exact(opened(model, tmp_path, payloads(rng, blanks=True)))


def test_ensembles_that_are_added_up_with_weights_and_a_linear_part_add_up_here_too(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    first, second = (Trees(rng, trees=3, depth=4, fields=FIELDS, modes=MODES[:4]) for _ in range(2))
    nodes = [
        first.keyed("x", "m1", tracks=False),
        second.keyed("x", "m2", tracks=False, base=0.3, aggregate_function="AVERAGE"),
        helper.make_node("Mul", ["m2", "half"], ["m3"]),
        helper.make_node("MatMul", ["x", "w"], ["linear"]),
        helper.make_node("Sum", ["m1", "m3", "linear"], ["m"]),
    ]
    weights = np.array([[0.1], [0.0], [-0.2], [0.3], [0.05]], np.float32)
    model = graph(sigmoid_of(nodes, "m"), FIELDS, constants={"half": np.float32(0.5), "w": weights})
    assert_exact(opened(model, tmp_path, payloads(rng, blanks=False), nullable=()))


def test_an_average_of_trees_that_is_the_probability_is_explained_in_probability(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    trees = Trees(rng, trees=5, depth=4, fields=FIELDS, modes=["LEQ"])
    trees.leaves = [abs(value) for value in trees.leaves]
    trees.roots = [root for root in trees.roots if root[0] == "node"]
    model = graph([trees.flat("x", "p", tracks=False, aggregate=0)], FIELDS, version=5)
    assert_exact(opened(model, tmp_path, payloads(rng, blanks=False)), "probability")


def test_the_largest_tree_instead_of_their_sum_is_explained_by_sampling(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    trees = Trees(rng, trees=3, depth=3, fields=FIELDS, modes=["LEQ"])
    nodes = sigmoid_of([trees.keyed("x", "m", tracks=False, aggregate_function="MAX")], "m")
    model = opened(graph(nodes, FIELDS), tmp_path, payloads(rng, blanks=False))
    assert model.explainer(model.rows[:12]).method == "sampled"


def test_a_column_of_two_fields_is_explained_by_sampling_and_says_so(rng: np.random.Generator, tmp_path: Path) -> None:
    trees = Trees(rng, trees=3, depth=3, fields=FIELDS, modes=["LEQ"])
    shares = helper.make_node("Normalizer", ["x"], ["shares"], domain="ai.onnx.ml", norm="L2")
    nodes = sigmoid_of([shares, trees.keyed("shares", "m", tracks=False)], "m")
    model = opened(graph(nodes, FIELDS), tmp_path, payloads(rng, blanks=False))
    explainer = model.explainer(model.rows[:12])
    assert explainer.method == "sampled"
    assert explainer.sampled_because == "m reads a column that depends on several fields, or on none"


def test_doubles_are_compared_as_doubles(rng: np.random.Generator, tmp_path: Path) -> None:
    """A float32 comparison would take 0.1 and 0.1 + 1e-12 for the same."""
    trees = Trees(rng, trees=3, depth=3, fields=FIELDS, modes=["LEQ", "GT"])
    node = trees.keyed("x", "m", tracks=False)
    kept = [a for a in node.attribute if a.name not in ("nodes_values", "target_weights")]
    values = {a.name: list(a.floats) for a in node.attribute if a.name in ("nodes_values", "target_weights")}
    del node.attribute[:]
    node.attribute.extend(kept)
    for name, numbers in values.items():
        shifted = [number + 1e-12 if name == "nodes_values" else number for number in numbers]
        tensor = helper.make_tensor(name, onnx.TensorProto.DOUBLE, [len(numbers)], shifted)
        node.attribute.append(helper.make_attribute(f"{name}_as_tensor", tensor))
    model = graph(sigmoid_of([node], "m"), FIELDS, kind=onnx.TensorProto.DOUBLE)
    rows = [
        {name: float(value + rng.choice([0.0, 2e-12])) for name, value in row.items()}
        for row in payloads(rng, blanks=False)
    ]
    assert_exact(opened(model, tmp_path, rows))
