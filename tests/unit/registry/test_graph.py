"""What is read from a graph, on graphs made for the purpose."""

import json
from collections.abc import Sequence

import onnx
import pytest
from onnx import TensorProto, helper

from registry.inspection.graph import class_labels, read_inputs, safety_faults
from registry.signature import Field, SignatureInvalid

Shape = Sequence[int | str | None]


def model(inputs: dict[str, tuple[int, Shape]], metadata: dict[str, object] | None = None) -> onnx.ModelProto:
    """A graph that takes `inputs` and passes the first on."""
    taken = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    given = helper.make_tensor_value_info("p", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", [next(iter(inputs))], ["p"])], "g", taken, [given])
    made = helper.make_model(graph)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in (metadata or {}).items()}
    helper.set_model_props(made, texts)
    return made


def faults(made: onnx.ModelProto, features: tuple[str, ...] | None = None) -> tuple[str, ...]:
    with pytest.raises(SignatureInvalid) as refused:
        read_inputs(made, features)
    return refused.value.faults


TWO_COLUMNS = {"X": (TensorProto.FLOAT, (None, 2))}


def test_one_input_a_column_becomes_one_field_each_of_its_own_rank() -> None:
    inputs = read_inputs(
        model(
            {
                "amount": (TensorProto.FLOAT, (None, 1)),
                "country": (TensorProto.STRING, ("N", 1)),
                "age": (TensorProto.INT64, (None,)),
            }
        )
    )
    assert inputs.layout == "columns"
    assert inputs.fields == (Field("amount", "float"), Field("country", "string"), Field("age", "int64", rank=1))


@pytest.mark.parametrize("features", [["a", "b"], "a,b", "a, b"])
def test_a_tensors_columns_are_named_by_its_metadata(features: object) -> None:
    inputs = read_inputs(model(TWO_COLUMNS, {"sira.features": features}))
    assert (inputs.layout, inputs.input_name, inputs.input_type) == ("tensor", "X", "float")
    assert inputs.fields == (Field("a", "float"), Field("b", "float"))


def test_features_at_registration_override_the_metadata() -> None:
    inputs = read_inputs(model(TWO_COLUMNS, {"sira.features": ["a", "b"]}), ("c", "d"))
    assert [field.name for field in inputs.fields] == ["c", "d"]


def test_a_tensor_of_open_width_has_as_many_columns_as_names() -> None:
    inputs = read_inputs(model({"X": (TensorProto.DOUBLE, (None, None))}), ("a", "b", "c"))
    assert [field.kind for field in inputs.fields] == ["double"] * 3


def test_a_single_column_is_a_field_unless_features_make_it_a_tensor() -> None:
    single = model({"amount": (TensorProto.FLOAT, (None, 1))})
    assert read_inputs(single).layout == "columns"
    assert read_inputs(single, ("a",)).input_name == "amount"


def test_metadata_says_which_fields_may_be_absent() -> None:
    rules = {"fields": {"a": {"nullable": True}, "b": {"nullable": True, "default": 2.5}}}
    inputs = read_inputs(model(TWO_COLUMNS, {"sira.features": ["a", "b"], "sira.signature": rules}))
    assert inputs.fields == (Field("a", "float", nullable=True), Field("b", "float", nullable=True, default=2.5))


def test_an_input_with_an_initial_value_is_no_field() -> None:
    made = model({"amount": (TensorProto.FLOAT, (None, 1)), "weight": (TensorProto.FLOAT, (1,))})
    made.graph.initializer.append(helper.make_tensor("weight", TensorProto.FLOAT, (1,), [1.0]))
    assert [field.name for field in read_inputs(made).fields] == ["amount"]


def test_a_tensor_without_names_is_refused() -> None:
    assert faults(model(TWO_COLUMNS)) == ("tensor X has 2 columns without names: give the features, or sira.features",)


def test_every_fault_of_a_tensors_metadata_is_named_at_once() -> None:
    made = model(TWO_COLUMNS, {"sira.features": ["a"], "sira.signature": {"fields": {"z": {"nullable": True}}}})
    assert faults(made) == (
        "1 feature names for 2 columns of X",
        "sira.signature names z, which the model does not take",
    )


@pytest.mark.parametrize("features", ["[1, 2]", '["a"', '{"a": 1}'])
def test_features_that_are_no_list_of_names_are_refused(features: str) -> None:
    made = model(TWO_COLUMNS, {"sira.features": features if features.startswith("[") else f"[{features}]"})
    assert "sira.features must be a JSON list of names" in faults(made)


@pytest.mark.parametrize(
    "rules",
    ["", "[]", "{}", '{"fields": []}', '{"fields": {"a": {"null": true}}}', '{"fields": {"a": {"default": []}}}'],
)
def test_field_rules_of_another_shape_are_refused(rules: str) -> None:
    made = model(TWO_COLUMNS, {"sira.features": ["a", "b"], "sira.signature": rules})
    (fault,) = faults(made)
    assert fault.startswith("sira.signature must be")


@pytest.mark.parametrize(
    ("kind", "shape", "reason"),
    [
        (TensorProto.FLOAT16, (None, 1), "is not a tensor of"),
        (TensorProto.FLOAT, (None, 3, 4), "has 3 dimensions"),
        (TensorProto.FLOAT, (), "has 0 dimensions"),
        (TensorProto.FLOAT, (1, 4), "takes 1 rows only"),
    ],
)
def test_inputs_that_are_no_rows_of_fields_are_refused(kind: int, shape: Shape, reason: str) -> None:
    (fault,) = faults(model({"X": (kind, shape)}), ("a", "b", "c", "d"))
    assert reason in fault


def test_wide_inputs_beside_others_are_refused() -> None:
    made = model({"numbers": (TensorProto.FLOAT, (None, 3)), "country": (TensorProto.STRING, (None, 1))})
    assert faults(made) == ("numbers: one column per input, or one tensor of all columns",)


def test_features_for_a_model_that_names_its_inputs_are_refused() -> None:
    made = model({"a": (TensorProto.FLOAT, (None, 1)), "b": (TensorProto.FLOAT, (None, 1))})
    assert faults(made, ("x", "y")) == ("this model names its own inputs (a, b): leave the features out",)


def test_a_plain_graph_is_safe() -> None:
    assert safety_faults(model(TWO_COLUMNS)) == []


def test_an_empty_file_is_no_model() -> None:
    assert safety_faults(onnx.load_model_from_string(b"")) == ["not an ONNX model: no graph in it"]


def external_tensor() -> onnx.TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, (1,), [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def test_weights_in_another_file_are_refused() -> None:
    made = model(TWO_COLUMNS)
    made.graph.initializer.append(external_tensor())
    assert "weights are in another file" in safety_faults(made)[0]


def branch(*nodes: onnx.NodeProto) -> onnx.NodeProto:
    graph = helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    return helper.make_node("If", ["condition"], ["y"], then_branch=graph, else_branch=graph)


def test_weights_in_another_file_are_found_inside_a_branch() -> None:
    made = model(TWO_COLUMNS)
    made.graph.node.append(branch(helper.make_node("Constant", [], ["y"], value=external_tensor())))
    assert "weights are in another file" in safety_faults(made)[0]


@pytest.mark.parametrize("nested", [False, True])
def test_operators_outside_the_standard_are_refused(nested: bool) -> None:
    made = model(TWO_COLUMNS)
    node = helper.make_node("Run", ["p"], ["y"], domain="com.example")
    made.graph.node.append(branch(node) if nested else node)
    assert safety_faults(made) == ["operators of com.example: only ai.onnx and ai.onnx.ml are served"]


def test_a_models_own_functions_are_taken() -> None:
    made = model(TWO_COLUMNS)
    made.functions.append(
        helper.make_function("own", "twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [])
    )
    made.graph.node.append(helper.make_node("twice", ["p"], ["y"], domain="own"))
    assert safety_faults(made) == []


def test_labels_are_those_the_classifier_names() -> None:
    made = model(TWO_COLUMNS)
    made.graph.node.append(
        helper.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_strings=["n", "y"])
    )
    assert class_labels(made) == ("n", "y")


def test_labels_are_unknown_when_two_classifiers_disagree() -> None:
    made = model(TWO_COLUMNS)
    for labels in ([0, 1], [1, 2]):
        node = helper.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_int64s=labels)
        made.graph.node.append(node)
    assert class_labels(made) is None
