"""What an ONNX graph declares about itself: whether it may be loaded, its classes, and how it treats missing values."""

import math
from collections.abc import Iterator

import onnx

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def safety_faults(model: onnx.ModelProto) -> list[str]:
    """Return the reasons not to give a model to the runtime."""
    if not model.ir_version or not model.graph.node:
        return ["not an ONNX model: no graph in it"]
    found = []
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        found.append("its weights are in another file: save it again with save_as_external_data=False")
    own = {function.domain for function in model.functions}
    foreign = {node.domain for node in nodes(model)} - STANDARD_DOMAINS - own
    if foreign:
        found.append(f"operators of {', '.join(sorted(foreign))}: only ai.onnx and ai.onnx.ml are served")
    return found


def class_labels(model: onnx.ModelProto) -> tuple[int | str, ...] | None:
    """Return the class labels of the graph's classifiers in column order; None without labels or when they differ."""
    found: set[tuple[int | str, ...]] = set()
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
                found.add(tuple(attribute.ints))
            elif attribute.name == "classlabels_strings" and attribute.strings:
                found.add(tuple(text.decode(errors="replace") for text in attribute.strings))
    return found.pop() if len(found) == 1 else None


def handles_missing(model: onnx.ModelProto) -> bool:
    """Return whether the graph can score missing values: it has trees, which route NaN, or an imputer of NaN."""
    return any(
        node.op_type.startswith("TreeEnsemble")
        or (
            node.op_type == "Imputer"
            and any(a.name == "replaced_value_float" and math.isnan(a.f) for a in node.attribute)
        )
        for node in nodes(model)
    )


def random_operators(model: onnx.ModelProto) -> list[str]:
    """Return the operators of the graph that draw random numbers, sorted."""
    return sorted({node.op_type for node in nodes(model)} & _RANDOM_OPERATORS)


def produced_by(model: onnx.ModelProto, name: str) -> onnx.NodeProto | None:
    """Return the node of the main graph that computes a tensor, or None."""
    return next((node for node in model.graph.node if name in node.output), None)


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph and every graph in an attribute of a node, including nodes of functions."""
    pending = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while pending or nodes:
        if pending:
            graph = pending.pop()
            yield graph
            nodes.extend(graph.node)
        else:
            for attribute in nodes.pop().attribute:
                pending.extend([attribute.g] if attribute.HasField("g") else [])
                pending.extend(attribute.graphs)


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node, in every sub-graph and function."""
    for graph in _graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
