"""The part of a graph that computes some of its tensors."""

from collections.abc import Iterator

import onnx

# A model's input cannot be its output, so that it goes through a node to a name of its own.
COPIED = "\0copy"


def with_outputs(model: onnx.ModelProto, tensors: tuple[str, ...]) -> onnx.ModelProto:
    """Return the part of the graph that computes these tensors, with them as its outputs."""
    wanted = set(tensors)
    nodes = []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            nodes.append(node)
            wanted |= set(read_by(node))
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.output[:], part.graph.initializer[:]
    part.graph.node.extend(reversed(nodes))
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in wanted)
    given = {value.name for value in model.graph.input}
    # The runtime knows the types; an input cannot be an output, so it goes through a node of its own.
    for name in tensors:
        if name in given:
            part.graph.node.append(onnx.helper.make_node("Identity", [name], [f"{name}{COPIED}"]))
        part.graph.output.append(onnx.ValueInfoProto(name=f"{name}{COPIED}" if name in given else name))
    return part


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, those of its sub-graphs included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from read_by(inner)
