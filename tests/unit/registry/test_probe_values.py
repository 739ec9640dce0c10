"""The thresholds and categories that a graph compares each field with, on graphs of the operators converters write."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from registry.inspection.probe_values import FieldValues, field_values
from registry.signature import Field, ModelInputs

ML = "ai.onnx.ml"


def graph(*nodes: onnx.NodeProto, constants: dict[str, Any] | None = None) -> onnx.ModelProto:
    made = helper.make_graph(nodes, "g", [], [])
    for name, value in (constants or {}).items():
        array = np.asarray(value)
        made.initializer.append(
            helper.make_tensor(name, TensorProto.STRING, array.shape, [str(text).encode() for text in array.ravel()])
            if array.dtype.kind == "U"
            else numpy_helper.from_array(array, name)
        )
    return helper.make_model(made)


def columns(*names: str) -> ModelInputs:
    return ModelInputs("columns", tuple(Field(name, "float") for name in names))


def tensor(width: int) -> ModelInputs:
    return ModelInputs("tensor", tuple(Field(f"v{n}", "float") for n in range(width)), "X", "float")


def trees(name: str, splits: Sequence[tuple[int, float]]) -> onnx.NodeProto:
    """A tree ensemble of the old kind: each split with two leaves."""
    return helper.make_node(
        "TreeEnsembleClassifier",
        [name],
        ["label", "p"],
        domain=ML,
        nodes_featureids=[value for place, _ in splits for value in (place, 0, 0)],
        nodes_values=[value for _, split in splits for value in (split, 0.0, 0.0)],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * len(splits),
    )


def thresholds(found: list[FieldValues]) -> list[tuple[float, ...]]:
    return [values.thresholds for values in found]


def test_every_split_of_a_tree_ensemble_is_found_once_and_no_leaf() -> None:
    model = graph(trees("X", [(0, 1.5), (2, -3.0), (0, 0.5), (0, 1.5)]))
    assert thresholds(field_values(model, tensor(3))) == [(0.5, 1.5), (), (-3.0,)]


def test_a_split_at_infinity_or_of_a_column_that_is_not_there_is_left_out() -> None:
    model = graph(trees("X", [(0, float("inf")), (0, float("nan")), (7, 1.0), (-1, 1.0)]))
    assert thresholds(field_values(model, tensor(1))) == [()]


def test_the_splits_and_sets_of_the_newer_tree_ensemble_are_found() -> None:
    leq, member = 0, 6
    node = helper.make_node(
        "TreeEnsemble",
        ["X"],
        ["p"],
        domain=ML,
        nodes_featureids=[0, 1, 1],
        nodes_modes=numpy_helper.from_array(np.array([leq, member, member], np.uint8)),
        nodes_splits=numpy_helper.from_array(np.array([2.5, np.nan, np.nan])),
        membership_values=numpy_helper.from_array(np.array([1.0, 4.0, np.nan, 7.0, np.nan])),
    )
    assert thresholds(field_values(graph(node), tensor(2))) == [(2.5,), (1.0, 4.0, 7.0)]


def test_splits_in_double_precision_keep_it() -> None:
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["X"],
        ["p"],
        domain=ML,
        nodes_featureids=[0],
        nodes_modes=["BRANCH_LT"],
        nodes_values_as_tensor=numpy_helper.from_array(np.array([0.1])),
    )
    assert thresholds(field_values(graph(node), tensor(1))) == [(0.1,)]


def test_splits_are_followed_through_the_joining_and_choosing_of_columns() -> None:
    model = graph(
        helper.make_node("Cast", ["b"], ["b_"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["a", "b_", "c"], ["all"], axis=1),
        helper.make_node("ArrayFeatureExtractor", ["all", "chosen"], ["two"], domain=ML),
        helper.make_node("Split", ["two"], ["first", "second"], axis=1),
        helper.make_node("Concat", ["second", "first"], ["swapped"], axis=-1),
        trees("swapped", [(0, 10.0), (1, 20.0)]),
        constants={"chosen": np.array([2, 0])},
    )
    # chosen: c and a; swapped: a and c
    assert thresholds(field_values(model, columns("a", "b", "c"))) == [(10.0,), (), (20.0,)]


def test_splits_behind_a_scaler_are_given_in_the_units_of_the_field() -> None:
    model = graph(
        helper.make_node("Scaler", ["X"], ["scaled"], domain=ML, offset=[10.0, 0.0], scale=[0.5, 2.0]),
        helper.make_node("Add", ["scaled", "one"], ["moved"]),
        helper.make_node("Div", ["moved", "two"], ["halved"]),
        trees("halved", [(0, 3.0), (1, 0.0)]),
        constants={"one": np.float32(1), "two": np.array([2, 2], np.float32)},
    )
    assert thresholds(field_values(model, tensor(2))) == [(20.0,), (-0.5,)]


def test_a_column_subtracted_from_a_constant_is_followed_too() -> None:
    model = graph(
        helper.make_node("Sub", ["ten", "X"], ["left"]), trees("left", [(0, 3.0)]), constants={"ten": np.float32(10)}
    )
    assert thresholds(field_values(model, tensor(1))) == [(7.0,)]


def test_a_column_that_is_multiplied_by_nothing_has_no_threshold() -> None:
    model = graph(
        helper.make_node("Mul", ["X", "zero"], ["gone"]), trees("gone", [(0, 3.0)]), constants={"zero": np.float32(0)}
    )
    assert thresholds(field_values(model, tensor(1))) == [()]


def test_the_categories_of_an_encoder_belong_to_its_field() -> None:
    model = graph(
        helper.make_node("OneHotEncoder", ["country"], ["hot"], domain=ML, cats_strings=["US", "SN"]),
        helper.make_node("LabelEncoder", ["mcc"], ["code"], domain=ML, keys_int64s=[7, 5], values_int64s=[0, 1]),
        helper.make_node("CategoryMapper", ["bank"], ["number"], domain=ML, cats_strings=["b"], cats_int64s=[3]),
        helper.make_node("Concat", ["hot", "code", "amount"], ["all"], axis=1),
        trees("all", [(0, 0.5), (2, 0.5), (3, 99.0)]),
    )
    found = field_values(model, columns("country", "mcc", "bank", "amount"))
    assert [values.categories for values in found] == [("SN", "US"), (5, 7), (3, "b"), ()]
    assert thresholds(found) == [(), (), (), (99.0,)], "a split of a code is covered by the categories themselves"


def test_the_categories_of_an_encoder_in_a_tensor_are_read() -> None:
    keys = helper.make_tensor("keys", TensorProto.STRING, [2], [b"FR", b"DE"])
    model = graph(helper.make_node("LabelEncoder", ["country"], ["code"], domain=ML, keys_tensor=keys))
    assert field_values(model, columns("country"))[0].categories == ("DE", "FR")


def test_what_a_field_is_compared_with_is_found() -> None:
    model = graph(
        helper.make_node("Equal", ["country", "home"], ["is_home"]),
        helper.make_node("Greater", ["amount", "limit"], ["is_large"]),
        helper.make_node("Less", ["night", "hour"], ["is_late"]),
        constants={"home": np.array(["SN"]), "limit": np.float32(1000), "night": np.float32(22)},
    )
    found = field_values(model, columns("country", "amount", "hour"))
    assert found == [FieldValues(categories=("SN",)), FieldValues((1000.0,)), FieldValues((22.0,))]


def test_a_constant_may_be_a_node_of_the_graph() -> None:
    model = graph(
        helper.make_node("Constant", [], ["limit"], value_float=5.0),
        helper.make_node("Greater", ["amount", "limit"], ["is_large"]),
    )
    assert thresholds(field_values(model, columns("amount"))) == [(5.0,)]


def test_fields_are_followed_from_a_renamed_input_and_from_a_tensor_beside_others() -> None:
    fields = (
        Field("Amount (EUR)", "float", input="Amount__EUR_"),
        Field("v1", "float", input="numbers"),
        Field("v2", "float", input="numbers"),
    )
    model = graph(
        helper.make_node("Concat", ["numbers", "Amount__EUR_"], ["all"], axis=1), trees("all", [(1, 2.0), (2, 30.0)])
    )
    assert thresholds(field_values(model, ModelInputs("mixed", fields))) == [(30.0,), (), (2.0,)]


@pytest.mark.parametrize(
    "between",
    [
        helper.make_node("MatMul", ["X", "w"], ["mixed"]),
        helper.make_node("Concat", ["X", "unknown"], ["mixed"], axis=1),
        helper.make_node("Concat", ["X", "X"], ["mixed"], axis=0),
        helper.make_node("Add", ["X", "X"], ["mixed"]),
        helper.make_node("Div", ["one", "X"], ["mixed"]),
        helper.make_node("Gather", ["X", "one"], ["mixed"]),
    ],
    ids=lambda node: node.op_type,
)
def test_splits_behind_what_is_not_understood_are_left_out(between: onnx.NodeProto) -> None:
    model = graph(between, trees("mixed", [(0, 1.0)]), constants={"one": np.float32(1)})
    assert thresholds(field_values(model, tensor(1))) == [()]
