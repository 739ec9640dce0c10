"""What is read from a graph, on graphs made for the purpose."""

import json
from collections.abc import Sequence

import onnx
import pytest
from onnx import TensorProto, helper

from registry.inspection.graph import class_labels, safety_faults

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


TWO_COLUMNS = {"X": (TensorProto.FLOAT, (None, 2))}


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
