"""What a model must do with its probe rows to be registered, on graphs in a real runtime."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from registry.inspection.child import inspect
from registry.inspection.metadata import ModelMetadata
from registry.inspection.parent import Inspected
from registry.inspection.refusals import ModelUnfit

ML = "ai.onnx.ml"
Inspect = Callable[..., Inspected]


@pytest.fixture
def inspected(tmp_path: Path) -> Inspect:
    """Inspect a graph of float columns `a`, `b`, ... and strings, which gives `p`."""

    def run(
        *nodes: onnx.NodeProto,
        floats: Sequence[str] = ("a",),
        strings: Sequence[str] = (),
        outputs: Sequence[str] = ("p",),
        constants: dict[str, Any] | None = None,
        **declared: Any,
    ) -> Inspected:
        taken = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in floats]
        taken += [helper.make_tensor_value_info(name, TensorProto.STRING, ["n", 1]) for name in strings]
        model = helper.make_model(
            helper.make_graph(
                nodes,
                "g",
                taken,
                [onnx.ValueInfoProto(name=name) for name in outputs],
                [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
            ),
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)],
            ir_version=9,
        )
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return inspect(path, ModelMetadata(**declared))

    return run


def refusal(inspected: Inspect, *nodes: onnx.NodeProto, **about: Any) -> str:
    with pytest.raises(ModelUnfit) as refused:
        inspected(*nodes, **about)
    return str(refused.value)


def node(kind: str, taken: Sequence[str], given: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    domain = ML if kind.startswith(("Tree", "OneHot", "Label", "SVM", "Linear")) else ""
    return helper.make_node(kind, taken, given, domain=domain, **attributes)


def tree(splits: Sequence[float], weights: Sequence[float], **more: Any) -> onnx.NodeProto:
    """A chain of splits of `a`: weights[n] up to splits[n], the last weight above them all."""
    count = len(splits)
    nodes = range(2 * count + 1)
    return node(
        "TreeEnsembleRegressor",
        ["a"],
        ["p"],
        nodes_treeids=[0] * len(nodes),
        nodes_nodeids=list(nodes),
        nodes_featureids=[0] * len(nodes),
        nodes_values=[splits[n // 2] if n % 2 == 0 and n < 2 * count else 0.0 for n in nodes],
        nodes_modes=["BRANCH_LEQ" if n % 2 == 0 and n < 2 * count else "LEAF" for n in nodes],
        nodes_truenodeids=[n + 1 if n % 2 == 0 and n < 2 * count else 0 for n in nodes],
        nodes_falsenodeids=[n + 2 if n % 2 == 0 and n < 2 * count else 0 for n in nodes],
        target_treeids=[0] * (count + 1),
        target_nodeids=[*range(1, 2 * count, 2), 2 * count],
        target_ids=[0] * (count + 1),
        target_weights=list(weights),
        n_targets=1,
        **more,
    )


SIGMOID = node("Sigmoid", ["a"], ["p"])


def test_a_plain_classifier_passes_without_a_warning(inspected: Inspect) -> None:
    found = inspected(SIGMOID)
    assert found.signature.output_layout == "probability"
    assert "warnings" not in found.metadata


def test_a_score_a_little_outside_the_bounds_is_a_probability(inspected: Inspect) -> None:
    inspected(tree([5.0, 7.0], [-1e-7, 1.0000001, 0.5]))


def test_a_leaf_that_only_the_trees_own_thresholds_reach_is_found(inspected: Inspect) -> None:
    reason = refusal(inspected, tree([500.0, 500.5], [0.2, 17.0, 0.3]))
    assert "not a probability" in reason
    assert "from 0.2 to 17" in reason


def test_a_raw_margin_of_small_weights_is_refused_with_what_to_do(inspected: Inspect) -> None:
    reason = refusal(
        inspected,
        node("Mul", ["a", "w"], ["wa"]),
        node("Add", ["wa", "half"], ["p"]),
        constants={"w": np.float32(0.02), "half": np.float32(0.5)},
    )
    assert "p is not a probability" in reason
    assert "raw margin (a logit), add a Sigmoid to the graph" in reason


def test_a_margin_beside_a_probability_is_refused_with_the_name_of_the_other_output(inspected: Inspect) -> None:
    both = [node("Mul", ["a", "two"], ["margin"]), node("Sigmoid", ["margin"], ["p"])]
    about = {"outputs": ("margin", "p"), "constants": {"two": np.float32(2)}}
    assert "name another output than this one (p)" in refusal(inspected, *both, output="margin", **about)
    assert inspected(*both, output="p", **about).signature.output_name == "p"


def outlier_detector(low: float) -> list[onnx.NodeProto]:
    """Scores of 0.5 that fall to `low` far out, and a label of -1 there, as scikit-learn's detectors export them."""
    return [
        node("Abs", ["a"], ["far"]),
        node("Greater", ["far", "limit"], ["is_out"]),
        node("Cast", ["is_out"], ["out"], to=TensorProto.FLOAT),
        node("Mul", ["out", "drop"], ["lost"]),
        node("Add", ["lost", "half"], ["p"]),
        node("Mul", ["out", "minus_two"], ["twice"]),
        node("Add", ["twice", "one"], ["label_"]),
        node("Cast", ["label_"], ["label"], to=TensorProto.INT64),
    ]


def detector_constants(low: float) -> dict[str, Any]:
    numbers = {"limit": 3.0, "drop": low - 0.5, "half": 0.5, "minus_two": -2.0, "one": 1.0}
    return {name: np.float32(value) for name, value in numbers.items()}


@pytest.mark.parametrize("low", [-0.3, 0.1])
def test_an_outlier_detector_is_refused_as_one_even_where_its_scores_look_like_probabilities(
    inspected: Inspect, low: float
) -> None:
    reason = refusal(inspected, *outlier_detector(low), outputs=("label", "p"), constants=detector_constants(low))
    assert "p is an anomaly score, not a probability" in reason


def test_a_classifier_that_labels_every_row_1_is_no_outlier_detector(inspected: Inspect) -> None:
    labelled = [node("Mul", ["a", "zero"], ["none"]), node("Add", ["none", "one"], ["sure"])]
    labelled += [node("Cast", ["sure"], ["label"], to=TensorProto.INT64), SIGMOID]
    constants = {"zero": np.float32(0), "one": np.float32(1)}
    assert inspected(*labelled, outputs=("label", "p"), constants=constants).signature.output_name == "p"


@pytest.mark.parametrize("operator", ["RandomUniformLike", "RandomNormalLike", "Bernoulli"])
def test_a_random_operator_is_named(inspected: Inspect, operator: str) -> None:
    nodes = [node("Sigmoid", ["a"], ["s"]), node(operator, ["s"], ["noise"]), node("Sigmoid", ["noise"], ["p"])]
    if operator == "Bernoulli":
        nodes[2] = node("Mul", ["noise", "s"], ["p"])
    reason = refusal(inspected, *nodes)
    assert "two runs of the same row give different scores" in reason
    assert f"(its graph contains {operator})" in reason


def test_a_random_operator_that_only_some_rows_meet_is_found(inspected: Inspect) -> None:
    """It adds noise above 100, where only the rows of the tree's threshold come."""
    base = tree([100.0], [0.2, 0.8])
    base.output[0] = "t"
    nodes = [
        base,
        node("RandomUniformLike", ["t"], ["noise"]),
        node("Greater", ["t", "half"], ["is_large"]),
        node("Where", ["is_large", "noise", "t"], ["p"]),
    ]
    reason = refusal(inspected, *nodes, constants={"half": np.float32(0.5)})
    assert "two runs of the same row give different scores" in reason


def test_rows_that_depend_on_each_other_are_distinguished_from_chance(inspected: Inspect) -> None:
    reason = refusal(inspected, node("Softmax", ["a"], ["p"], axis=0))
    assert reason == "a row scores differently alone and beside others: rows must not depend on each other"


def encoder(**how: Any) -> list[onnx.NodeProto]:
    return [
        node("OneHotEncoder", ["country"], ["hot"], cats_strings=["SN", "US"], **how),
        node("Reshape", ["hot", "flat"], ["wide"]),
        node("ReduceSum", ["wide", "axis"], ["known"]),
        node("Add", ["known", "a"], ["z"]),
        node("Sigmoid", ["z"], ["p"]),
    ]


ENCODED = {"strings": ("country",), "constants": {"flat": np.array([-1, 2]), "axis": np.array([1])}}


def test_a_model_that_knows_what_to_do_with_any_category_passes(inspected: Inspect) -> None:
    found = inspected(*encoder(zeros=1), **ENCODED)
    assert "warnings" not in found.metadata


def test_a_model_that_refuses_unknown_categories_registers_with_a_warning(inspected: Inspect) -> None:
    found = inspected(*encoder(zeros=0), **ENCODED)
    assert found.metadata["warnings"] == [
        "the model raises an error for an unknown category in country: such an event is answered with 500"
    ]
    example = next(field.example for field in found.signature.fields if field.name == "country")
    assert example == "SN", "warm-up needs a category that the model knows"


def test_a_blank_that_a_model_refuses_may_not_be_declared_nullable(inspected: Inspect) -> None:
    reason = refusal(inspected, *encoder(zeros=0), nullable=("country",), **ENCODED)
    assert reason.startswith("it does not score a row without country (give such a field a default, or do not make it")


def test_a_missing_number_that_a_model_answers_with_nan_may_not_be_declared_nullable(inspected: Inspect) -> None:
    reason = refusal(inspected, SIGMOID, nullable="all")
    assert reason.startswith("output p is not a probability but nan for a row without a (give such a field a default")
    assert inspected(SIGMOID, nullable="all", defaults={"a": 0}).signature.fields[0].nullable


def test_a_model_of_positive_numbers_registers_with_a_warning(inspected: Inspect) -> None:
    found = inspected(
        node("Add", ["a", "one"], ["more"]), node("Log", ["more"], ["log"]), node("Sigmoid", ["log"], ["p"]),
        constants={"one": np.float32(1)},
    )  # fmt: skip
    (warning,) = found.metadata["warnings"]
    assert warning.startswith("the model gives no probability for a large or negative number")


def test_a_model_that_gives_no_probability_for_a_row_of_zeros_is_refused(inspected: Inspect) -> None:
    inverse = [node("Div", ["a", "a"], ["one"]), node("Mul", ["one", "half"], ["p"])]
    reason = refusal(inspected, *inverse, constants={"half": np.float32(0.5)})
    assert "output p is not a probability but nan for a plain row" in reason


def test_a_tensor_beside_named_inputs_is_tried_and_served_with_its_own_layout(tmp_path: Path) -> None:
    """As CatBoost's export of categorical features writes it (catboost #2999)."""
    model = helper.make_model(
        helper.make_graph(
            [
                node("LabelEncoder", ["bank"], ["code"], keys_strings=["a", "b"], values_floats=[1.0, 2.0]),
                node("Concat", ["features", "code"], ["all"], axis=1),
                node("ReduceSum", ["all", "axis"], ["z"]),
                node("Sigmoid", ["z"], ["p"]),
            ],
            "g",
            [
                helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 2]),
                helper.make_tensor_value_info("bank", TensorProto.STRING, ["n", 1]),
            ],
            [onnx.ValueInfoProto(name="p")],
            [numpy_helper.from_array(np.array([1]), "axis")],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)],
        ir_version=9,
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    signature = inspect(path, ModelMetadata(features=("v1", "v2"))).signature
    assert (signature.layout, [field.input for field in signature.fields]) == (
        "mixed",
        ["features", "features", "bank"],
    )


def test_a_row_of_the_widest_model_is_tried(tmp_path: Path) -> None:
    width = 2_048
    model = helper.make_model(
        helper.make_graph(
            [node("ReduceMean", ["X"], ["z"], axes=[1]), node("Sigmoid", ["z"], ["p"])],
            "g",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", width])],
            [onnx.ValueInfoProto(name="p")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    names = tuple(f"v{n}" for n in range(width))
    assert len(inspect(path, ModelMetadata(features=names)).signature.fields) == width
