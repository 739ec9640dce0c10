"""Read a model's inputs from its graph and its metadata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import onnx

from registry.inspection.metadata import ModelMetadata
from registry.signature import FLOATING, MAX_FIELDS, Field, Kind, ModelInputs, SignatureInvalid, Value
from runtime.reading import closest_name

KINDS: dict[int, Kind] = {
    onnx.TensorProto.FLOAT: "float",
    onnx.TensorProto.DOUBLE: "double",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.STRING: "string",
    onnx.TensorProto.BOOL: "bool",
}


@dataclass(frozen=True, slots=True)
class _Input:
    """One input of the graph. `width` is its number of columns, None when the graph does not fix it."""

    name: str
    kind: Kind
    rank: Literal[1, 2]
    width: int | None


def read_inputs(model: onnx.ModelProto, metadata: ModelMetadata | None = None) -> ModelInputs:
    """Return the inputs as fields. Raises SignatureInvalid with every fault."""
    metadata = metadata or ModelMetadata()
    initialised = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in initialised]
    faults = [fault for value in values for fault in _input_faults(value)]
    if not 1 <= len(values) <= MAX_FIELDS:
        faults.append(f"{len(values)} inputs, not 1 to {MAX_FIELDS}")
    if faults:
        raise SignatureInvalid(faults)
    inputs = _inputs(values, metadata.features, faults)
    fields = _with_rules(_renamed(inputs, metadata.rename, faults), metadata, faults)
    if faults:
        raise SignatureInvalid(faults)
    inputs = ModelInputs(inputs.layout, fields, inputs.input_name, inputs.input_type)
    if faults := inputs.faults():
        raise SignatureInvalid(faults)
    return inputs


def _input_faults(value: onnx.ValueInfoProto) -> list[str]:
    if not value.type.HasField("tensor_type") or value.type.tensor_type.elem_type not in KINDS:
        return [f"input {value.name} is not a tensor of {', '.join(sorted(KINDS.values()))}"]
    dimensions = value.type.tensor_type.shape.dim
    if not 1 <= len(dimensions) <= 2:
        return [f"input {value.name} has {len(dimensions)} dimensions: one row per event, so (n,) or (n, columns)"]
    if dimensions[0].HasField("dim_value"):
        fixed = dimensions[0].dim_value
        return [f"input {value.name} takes {fixed} rows only: export it with a dynamic batch dimension"]
    return []


def _inputs(values: Sequence[onnx.ValueInfoProto], features: tuple[str, ...] | None, faults: list[str]) -> ModelInputs:
    inputs = [_read(value) for value in values]
    tensors = [taken for taken in inputs if taken.width != 1]
    if len(inputs) == 1 and (features is not None or tensors):
        names = _tensor_names(inputs, features, faults)[inputs[0].name]
        fields = tuple(Field(name, inputs[0].kind) for name in names)
        return ModelInputs("tensor", fields, inputs[0].name, inputs[0].kind)
    if not tensors:
        names = tuple(taken.name for taken in inputs)
        if features is not None and sorted(features) != sorted(names):
            listed = ", ".join(names)
            faults.append(f"this model names its own inputs ({listed}): leave the features out, or rename the inputs")
        return ModelInputs("columns", tuple(Field(taken.name, taken.kind, rank=taken.rank) for taken in inputs))
    columns = _tensor_names(tensors, features, faults)
    mixed = tuple(
        Field(name, taken.kind, rank=taken.rank, input=taken.name)
        for taken in inputs
        for name in columns.get(taken.name, (taken.name,))
    )
    return ModelInputs("mixed", mixed)


def _tensor_names(
    tensors: Sequence[_Input], features: tuple[str, ...] | None, faults: list[str]
) -> dict[str, tuple[str, ...]]:
    """Return the column names of each tensor, from `features`: all tensors' columns in the graph's order."""
    listed = " and ".join(f"{tensor.width or 'the'} columns of {tensor.name}" for tensor in tensors)
    if features is None:
        faults.append(f"no names for {listed}: give the features, or put sira.features into the model")
        return {tensor.name: () for tensor in tensors}
    fixed = sum(tensor.width or 0 for tensor in tensors)
    open_width = [tensor for tensor in tensors if tensor.width is None]
    left = len(features) - fixed
    if len(open_width) > 1:
        faults.append(f"{len(open_width)} tensors without a fixed number of columns: export them with one")
    elif left < 0 or (left > 0) != bool(open_width):
        faults.append(f"{len(features)} feature names for the {listed}: name each column of a tensor, and nothing else")
    names, start = {}, 0
    for tensor in tensors:
        width = left if tensor.width is None else tensor.width
        names[tensor.name] = features[start : start + width]
        start += width
    return names


def _renamed(inputs: ModelInputs, rename: Mapping[str, str], faults: list[str]) -> list[Field]:
    """Give fields the names that payloads use; a field with an input of its own remembers the input's name."""
    known = {field.name for field in inputs.fields}
    for model_name in sorted(set(rename.values()) - known):
        closest = closest_name(model_name, sorted(known))
        hint = f"; did you mean {closest}?" if closest else ""
        faults.append(f"rename names {model_name}, which the model does not take{hint}")
    payload_names = {model_name: name for name, model_name in rename.items()}
    fields = []
    for field in inputs.fields:
        own_input = field.name if inputs.layout == "columns" else field.input
        if field.name in payload_names:
            field = Field(payload_names[field.name], field.kind, rank=field.rank, input=own_input)
        fields.append(field)
    return fields


def _with_rules(fields: Sequence[Field], metadata: ModelMetadata, faults: list[str]) -> tuple[Field, ...]:
    """Give fields their rules, named by the payload's name or by the model's."""
    payload_names = {model_name: name for name, model_name in metadata.rename.items()}
    known = {field.name for field in fields}
    defaults = {payload_names.get(name, name): value for name, value in metadata.defaults.items()}
    everything = metadata.nullable == "all"
    nullable = set() if everything else {payload_names.get(name, name) for name in metadata.nullable}
    for what, names in (("nullable", nullable), ("default", defaults.keys())):
        if unknown := sorted(names - known):
            faults.append(f"{what} names {', '.join(unknown)}, which the model does not take")
    ruled = []
    for field in fields:
        default = _typed(field.kind, defaults.get(field.name))
        has_missing_value = default is not None or field.kind in FLOATING | {"string"}
        may_be_null = has_missing_value if everything else field.name in nullable
        ruled.append(Field(field.name, field.kind, may_be_null, default, field.rank, field.input))
    return tuple(ruled)


def _typed(kind: Kind, value: Value | None) -> Value | None:
    """Return a default as its field's type: a command line and a form can only send text."""
    if not isinstance(value, str) or kind == "string":
        return value
    if kind == "bool":
        return {"true": True, "false": False}.get(value.lower(), value)
    convert: Any = float if kind in FLOATING else int
    try:
        return convert(value)  # type: ignore[no-any-return]
    except ValueError:
        return value


def _read(value: onnx.ValueInfoProto) -> _Input:
    dimensions = list(value.type.tensor_type.shape.dim)
    width: int | None = 1
    if len(dimensions) == 2:
        width = dimensions[1].dim_value if dimensions[1].HasField("dim_value") else None
    rank: Literal[1, 2] = 1 if len(dimensions) == 1 else 2
    return _Input(value.name, KINDS[value.type.tensor_type.elem_type], rank, width)
