"""Models with a fault that registration accepts: the graph of a sound model, edited."""

from collections.abc import Collection, Sequence

import onnx
from onnx import TensorProto, helper

OUTPUT = "probabilities"
# A round of 64 x 64 products takes about 9 us on one core.
_SIDE = 64


def throws_on_unknown(model: bytes, category: str, forget: Collection[str] = ()) -> bytes:
    """Return a model whose encoder of the field with this category raises on unknown categories.

    The categories in `forget` become unknown to it, as if they had been missing from the training data. Registration
    accepts such a model with a warning: an encoder that refuses unknown categories is configured to do so.
    """
    graph = _open(model)
    (encoder,) = (node for node in graph.graph.node if category in _categories_of(node))
    kept = [f"not {name}" if name in forget else name for name in _categories_of(encoder)]
    others = [attribute for attribute in encoder.attribute if attribute.name not in ("cats_strings", "zeros")]
    del encoder.attribute[:]
    encoder.attribute.extend([*others, helper.make_attribute("cats_strings", kept), helper.make_attribute("zeros", 0)])
    return bytes(graph.SerializeToString())


def slow_above(model: bytes, field: str, limit: float, rounds: int) -> bytes:
    """Return a model that computes `rounds` matrix products if any row's numeric `field` is above `limit`."""
    graph = _open(model)
    side = [_SIDE, _SIDE]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["loop_in", "loop_in"], ["loop_product"]),
            helper.make_node("Clip", ["loop_product", "loop_low", "loop_high"], ["loop_out"]),
            helper.make_node("Identity", ["loop_go"], ["loop_on"]),
        ],
        "work",
        [
            helper.make_tensor_value_info("loop_round", TensorProto.INT64, []),
            helper.make_tensor_value_info("loop_go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("loop_in", TensorProto.FLOAT, side),
        ],
        [
            helper.make_tensor_value_info("loop_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("loop_out", TensorProto.FLOAT, side),
        ],
        [
            helper.make_tensor("loop_low", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("loop_high", TensorProto.FLOAT, [], [1.0]),
        ],
    )
    nodes = [
        _constant("fault_limit", [limit], TensorProto.FLOAT, []),
        _constant("fault_rounds", [rounds], TensorProto.INT64, []),
        _constant("fault_yes", [True], TensorProto.BOOL, []),
        _constant("fault_work", [0.01] * _SIDE * _SIDE, TensorProto.FLOAT, side),
        _constant("fault_zero", [0.0], TensorProto.FLOAT),
        _constant("fault_one", [1.0], TensorProto.FLOAT),
        helper.make_node("ReduceMax", [field], ["fault_largest"], keepdims=0),
        helper.make_node("Greater", ["fault_largest", "fault_limit"], ["fault_above"]),
        helper.make_node("Cast", ["fault_above"], ["fault_times"], to=TensorProto.INT64),
        helper.make_node("Mul", ["fault_times", "fault_rounds"], ["fault_iterations"]),
        helper.make_node("Loop", ["fault_iterations", "fault_yes", "fault_work"], ["fault_worked"], body=body),
        helper.make_node("ReduceMax", ["fault_worked"], ["fault_any"], keepdims=0),
        helper.make_node("Mul", ["fault_any", "fault_zero"], ["fault_nothing"]),
        helper.make_node("Add", ["fault_nothing", "fault_one"], ["fault_factor"]),
    ]
    return _multiplied(graph, nodes)


def _open(model: bytes) -> onnx.ModelProto:
    return onnx.load_model_from_string(model)


def _categories_of(node: onnx.NodeProto) -> list[str]:
    """Return the categories of a one-hot encoder of strings, in the order of its columns."""
    if node.op_type != "OneHotEncoder":
        return []
    return [text.decode() for one in node.attribute if one.name == "cats_strings" for text in one.strings]


def _constant(name: str, values: Sequence[float], kind: int, shape: Sequence[int] = (1,)) -> onnx.NodeProto:
    tensor = helper.make_tensor(name, kind, shape, values)
    return helper.make_node("Constant", [], [name], value=tensor)


def _multiplied(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> bytes:
    """Return the model with its probabilities multiplied by `fault_factor`, which `nodes` compute and which is 1."""
    for node in model.graph.node:
        node.output[:] = [f"sound_{OUTPUT}" if name == OUTPUT else name for name in node.output]
    model.graph.node.extend(nodes)
    model.graph.node.append(helper.make_node("Mul", [f"sound_{OUTPUT}", "fault_factor"], [OUTPUT]))
    return bytes(model.SerializeToString())
