"""What an ONNX graph declares: whether it may be loaded at all, and its inputs.

Metadata that a model may carry (`model.metadata_props`):

    sira.features    ["a", "b"]                    names of a tensor's columns, in order (or "a,b")
    sira.signature   {"fields": {"a": {"nullable": true, "default": 0}}}
    sira.thresholds  {"review": 0.5, "block": 0.9}
    sira.positive    the class label that means fraud, when that is not 1 and not plain from its name
    sira.output      the output that holds the probability, when there is more than one
"""

import json
from collections.abc import Iterator
from typing import Any, Literal

import onnx

from registry.signature import MAX_FIELDS, Field, Inputs, Kind, SignatureInvalid

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})

_Column = tuple[str, Kind, Literal[1, 2]]  # name, kind, rank
_KINDS: dict[int, Kind] = {
    onnx.TensorProto.FLOAT: "float",
    onnx.TensorProto.DOUBLE: "double",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.STRING: "string",
    onnx.TensorProto.BOOL: "bool",
}


def safety_faults(model: onnx.ModelProto) -> list[str]:
    """Return the reasons not to give a model to the runtime."""
    if not model.ir_version or not model.graph.node:
        return ["not an ONNX model: no graph in it"]
    found = []
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        found.append("its weights are in another file: save it again with save_as_external_data=False")
    own = {function.domain for function in model.functions}
    foreign = {node.domain for node in _nodes(model)} - STANDARD_DOMAINS - own
    if foreign:
        found.append(f"operators of {', '.join(sorted(foreign))}: only ai.onnx and ai.onnx.ml are served")
    return found


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the metadata entries by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def class_labels(model: onnx.ModelProto) -> tuple[int | str, ...] | None:
    """Return the class labels of the graph's classifiers in column order; None without labels or when they differ."""
    found: set[tuple[int | str, ...]] = set()
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
                found.add(tuple(attribute.ints))
            elif attribute.name == "classlabels_strings" and attribute.strings:
                found.add(tuple(text.decode(errors="replace") for text in attribute.strings))
    return found.pop() if len(found) == 1 else None


def read_inputs(model: onnx.ModelProto, features: tuple[str, ...] | None = None) -> Inputs:
    """Return the model's inputs; `features` overrides sira.features. Raises SignatureInvalid."""
    initialised = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialised]
    faults = [fault for value in inputs for fault in _input_faults(value)]
    if not 1 <= len(inputs) <= MAX_FIELDS:
        faults.append(f"{len(inputs)} inputs, not 1 to {MAX_FIELDS}")
    if faults:
        raise SignatureInvalid(faults)
    metadata = metadata_of(model)
    if features is None and "sira.features" in metadata:
        features = _features(metadata["sira.features"], faults)
    one_tensor = len(inputs) == 1 and (features is not None or _width(inputs[0]) != 1)
    columns = _tensor_columns(inputs[0], features, faults) if one_tensor else _own_columns(inputs, features, faults)
    rules = _field_rules(metadata, faults)
    if unknown := sorted(set(rules) - {name for name, _, _ in columns}):
        faults.append(f"sira.signature names {', '.join(unknown)}, which the model does not take")
    if faults:
        raise SignatureInvalid(faults)
    fields = tuple(Field(name, kind, rank=rank, **rules.get(name, {})) for name, kind, rank in columns)
    if one_tensor:
        return Inputs("tensor", fields, inputs[0].name, _kind(inputs[0]))
    return Inputs("columns", fields)


def _input_faults(value: onnx.ValueInfoProto) -> list[str]:
    if not value.type.HasField("tensor_type") or value.type.tensor_type.elem_type not in _KINDS:
        return [f"input {value.name} is not a tensor of {', '.join(sorted(_KINDS.values()))}"]
    dimensions = value.type.tensor_type.shape.dim
    if not 1 <= len(dimensions) <= 2:
        return [f"input {value.name} has {len(dimensions)} dimensions: one row per event, so (n,) or (n, columns)"]
    if dimensions[0].HasField("dim_value"):
        fixed = dimensions[0].dim_value
        return [f"input {value.name} takes {fixed} rows only: export it with a dynamic batch dimension"]
    return []


def _tensor_columns(value: onnx.ValueInfoProto, features: tuple[str, ...] | None, faults: list[str]) -> list[_Column]:
    width = _width(value)
    if features is None:
        columns = f"{width} columns" if width else "columns"
        faults.append(f"tensor {value.name} has {columns} without names: give the features, or sira.features")
    elif width is not None and len(features) != width:
        faults.append(f"{len(features)} feature names for {width} columns of {value.name}")
    elif len(features) > MAX_FIELDS:
        faults.append(f"{len(features)} features, not 1 to {MAX_FIELDS}")
    return [(name, _kind(value), 2) for name in features or ()]


def _own_columns(
    inputs: list[onnx.ValueInfoProto], features: tuple[str, ...] | None, faults: list[str]
) -> list[_Column]:
    names = [value.name for value in inputs]
    if features is not None and sorted(features) != sorted(names):
        faults.append(f"this model names its own inputs ({', '.join(names)}): leave the features out")
    if wide := [value.name for value in inputs if _width(value) != 1]:
        faults.append(f"{', '.join(wide)}: one column per input, or one tensor of all columns")
    return [(value.name, _kind(value), 1 if len(value.type.tensor_type.shape.dim) == 1 else 2) for value in inputs]


def _field_rules(metadata: dict[str, str], faults: list[str]) -> dict[str, dict[str, Any]]:
    """Return `fields` of sira.signature: each may have a bool `nullable` and a scalar `default`."""
    if "sira.signature" not in metadata:
        return {}
    try:
        rules = json.loads(metadata["sira.signature"])["fields"]
    except (ValueError, TypeError, KeyError):
        rules = None
    if isinstance(rules, dict) and all(_is_rule(rule) for rule in rules.values()):
        return rules
    faults.append('sira.signature must be {"fields": {NAME: {"nullable": true or false, "default": a value}}}')
    return {}


def _is_rule(rule: object) -> bool:
    return (
        isinstance(rule, dict)
        and set(rule) <= {"nullable", "default"}
        and isinstance(rule.get("nullable", False), bool)
        and isinstance(rule.get("default"), bool | int | float | str | None)
    )


def _features(text: str, faults: list[str]) -> tuple[str, ...]:
    if not text.lstrip().startswith("["):
        return tuple(name.strip() for name in text.split(","))
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    faults.append("sira.features must be a JSON list of names")
    return ()


def _kind(value: onnx.ValueInfoProto) -> Kind:
    return _KINDS[value.type.tensor_type.elem_type]


def _width(value: onnx.ValueInfoProto) -> int | None:
    """Return the number of columns: 1 for (n,), None when the graph does not fix it."""
    columns = list(value.type.tensor_type.shape.dim)[1:]
    if not columns:
        return 1
    return columns[0].dim_value if columns[0].HasField("dim_value") else None


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


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
