"""Which values of each field make a difference to a graph: the thresholds and the categories that it compares with.

Columns are followed from the inputs through the operators that converters write. What is behind another operator (a
matrix product, a sub-graph) is not found: probe rows then rely on the values that suit every field.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from registry.signature import ModelInputs

Category = str | int | float

_BRANCH_MEMBER = 6  # the mode of a node of TreeEnsemble, ai.onnx.ml 5


@dataclass(frozen=True, slots=True)
class FieldValues:
    """Values of one field, sorted and without repeats."""

    thresholds: tuple[float, ...] = ()
    categories: tuple[Category, ...] = ()


@dataclass(frozen=True, slots=True)
class _Column:
    """A tensor's column that equals field number `place` * `scale` + `shift`."""

    place: int
    scale: float = 1.0
    shift: float = 0.0


_Columns = list[_Column | None]  # None: not derived from one field by scale and shift


@dataclass
class _Trace:
    """The facts known after the nodes seen so far. Tensors that are absent from `columns` have an unknown width."""

    columns: dict[str, _Columns]
    constants: dict[str, onnx.TensorProto]
    thresholds: list[set[float]]
    categories: list[set[Category]]
    read: dict[str, Any] = field(default_factory=dict)

    def constant(self, name: str) -> Any:
        """Return a constant's array, or None."""
        if name not in self.read and name in self.constants:
            self.read[name] = numpy_helper.to_array(self.constants[name])
        return self.read.get(name)

    def add_threshold(self, column: _Column | None, value: float) -> None:
        if column is not None and column.scale and math.isfinite(value):
            self.thresholds[column.place].add((float(value) - column.shift) / column.scale)

    def add_categories(self, columns: Iterable[_Column | None], values: Sequence[Category]) -> None:
        for column in columns:
            if column is not None:
                self.categories[column.place].update(values)


class _Attributes:
    """A node's attributes, converted one at a time: as Python objects, a forest's weights take a lot of memory."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self._by_name = {attribute.name: attribute for attribute in node.attribute}

    def names(self) -> Iterable[str]:
        return self._by_name

    def get(self, name: str, default: Any = None) -> Any:
        """Return a number, text or list; a tensor as an array."""
        if name not in self._by_name:
            return default
        value = helper.get_attribute_value(self._by_name[name])
        return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


_Handler = Callable[[_Trace, onnx.NodeProto, _Attributes], _Columns | None]


def field_values(model: onnx.ModelProto, inputs: ModelInputs) -> list[FieldValues]:
    """Return the values that the main graph compares each field with, in field order."""
    columns: dict[str, _Columns] = {}
    for place, one in enumerate(inputs.fields):
        columns.setdefault(inputs.input_of(one), []).append(_Column(place))
    trace = _Trace(
        columns,
        {tensor.name: tensor for tensor in model.graph.initializer},
        [set() for _ in inputs.fields],
        [set() for _ in inputs.fields],
    )
    for node in model.graph.node:
        handler = _HANDLERS.get(node.op_type)
        if handler is not None:
            followed = handler(trace, node, _Attributes(node))
            if followed is not None and node.output:
                trace.columns[node.output[0]] = followed
    found = zip(trace.thresholds, trace.categories, strict=True)
    return [FieldValues(tuple(sorted(numbers)), _sorted(categories)) for numbers, categories in found]


def _sorted(categories: set[Category]) -> tuple[Category, ...]:
    return tuple(sorted(categories, key=lambda value: (isinstance(value, str), value)))


def _constant(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> None:
    for name in attributes.names():  # a Constant has exactly one
        trace.read[node.output[0]] = np.array(attributes.get(name))


def _same(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> _Columns | None:
    if node.input[0] in trace.constants or node.input[0] in trace.read:
        trace.read[node.output[0]] = trace.constant(node.input[0])
    return trace.columns.get(node.input[0])


def _scaler(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> _Columns | None:
    columns = trace.columns.get(node.input[0])
    offsets, scales = attributes.get("offset", [0.0]), attributes.get("scale", [1.0])
    return None if columns is None else _affine(columns, scales, [-o * s for o, s in _pairs(offsets, scales)])


def _pairs(first: Sequence[float], second: Sequence[float]) -> list[tuple[float, float]]:
    length = max(len(first), len(second))
    return [(first[n % len(first)], second[n % len(second)]) for n in range(length)] if first and second else []


def _affine(columns: _Columns, scales: Sequence[float], shifts: Sequence[float]) -> _Columns | None:
    if not (len(scales) in (1, len(columns)) and len(shifts) in (1, len(columns))):
        return None
    return [
        None
        if column is None
        else _Column(
            column.place,
            column.scale * scales[n % len(scales)],
            column.shift * scales[n % len(scales)] + shifts[n % len(shifts)],
        )
        for n, column in enumerate(columns)
    ]


def _arithmetic(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> _Columns | None:
    columns, other = trace.columns.get(node.input[0]), node.input[1]
    swapped = columns is None
    if swapped:
        columns, other = trace.columns.get(node.input[1]), node.input[0]
    values = trace.constant(other)
    if columns is None or values is None or values.dtype.kind not in "fiu" or (swapped and node.op_type == "Div"):
        return None
    numbers = [float(value) for value in values.ravel()]
    if node.op_type in ("Mul", "Div"):
        if node.op_type == "Div":
            numbers = [1.0 / number if number else math.nan for number in numbers]
        return _affine(columns, numbers, [0.0])
    if node.op_type == "Sub":
        return _affine(columns, [-1.0], numbers) if swapped else _affine(columns, [1.0], [-n for n in numbers])
    return _affine(columns, [1.0], numbers)


def _joined(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> _Columns | None:
    parts = [trace.columns.get(name) for name in node.input]
    if attributes.get("axis", 1) not in (1, -1) or any(part is None for part in parts):
        return None
    return [column for part in parts if part is not None for column in part]


def _selected(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> _Columns | None:
    columns, wanted = trace.columns.get(node.input[0]), trace.constant(node.input[1])
    if columns is None or wanted is None or (node.op_type == "Gather" and attributes.get("axis", 0) not in (1, -1)):
        return None
    places = [int(place) for place in wanted.ravel()]
    return [columns[place] for place in places] if all(-len(columns) <= p < len(columns) for p in places) else None


def _split(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> None:
    columns = trace.columns.get(node.input[0])
    if columns is None or attributes.get("axis", 0) not in (1, -1):
        return
    sizes = attributes.get("split") or (trace.constant(node.input[1]) if len(node.input) > 1 else None)
    if sizes is None:
        sizes = [-(-len(columns) // len(node.output))] * len(node.output)
    start = 0
    for name, size in zip(node.output, sizes, strict=False):
        trace.columns[name] = columns[start : start + int(size)]
        start += int(size)


def _encoder(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> _Columns | None:
    columns = trace.columns.get(node.input[0])
    categories: list[Category] = []
    for name in attributes.names():
        if name.startswith(("keys_", "cats_", "classes_strings")):
            categories += _plain(attributes.get(name))
    if columns is None:
        return None
    trace.add_categories(columns, [c for c in categories if isinstance(c, str) or math.isfinite(c)])
    return [None] * (len(columns) * len(categories) if node.op_type == "OneHotEncoder" else len(columns))


def _plain(values: Any) -> list[Any]:
    listed = np.asarray(values).ravel().tolist()
    return [value.decode(errors="replace") if isinstance(value, bytes) else value for value in listed]


def _comparison(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> None:
    left, right = node.input
    for name, other in ((left, right), (right, left)):
        columns, values = trace.columns.get(name), trace.constant(other)
        if columns is None or values is None:
            continue
        listed = _plain(values)
        if listed and isinstance(listed[0], str):
            trace.add_categories(columns, listed)
        elif len(listed) in (1, len(columns)):
            for n, column in enumerate(columns):
                trace.add_threshold(column, float(listed[n % len(listed)]))


def _trees(trace: _Trace, node: onnx.NodeProto, attributes: _Attributes) -> None:
    """Read the operators of ai.onnx.ml 1 to 3, and TreeEnsemble of ai.onnx.ml 5.

    Modes are text with leaves among them in ai.onnx.ml 1 to 3, and numbers of nodes without leaves in 5.
    """
    columns = trace.columns.get(node.input[0])
    if columns is None:
        return
    names = ("nodes_splits", "nodes_values_as_tensor", "nodes_values")
    values = next((found for name in names if len(found := attributes.get(name, ()))), ())
    modes = attributes.get("nodes_modes", ())
    places = attributes.get("nodes_featureids", ())
    if not len(modes) == len(places) == len(values):
        return
    is_split = np.array([mode not in (b"LEAF", "LEAF") for mode in modes], dtype=bool)
    splits = np.array([places, values], dtype=np.float64)[:, is_split]
    for place, value in np.unique(splits, axis=1).T.tolist():
        if 0 <= place < len(columns):
            trace.add_threshold(columns[int(place)], value)
    _members(trace, columns, places, modes, attributes.get("membership_values", np.empty(0)))


def _members(trace: _Trace, columns: _Columns, places: Sequence[int], modes: Sequence[int], members: Any) -> None:
    """Read the sets of BRANCH_MEMBER nodes, one after the other, each ended by a NaN."""
    sets = iter(np.split(members, np.flatnonzero(np.isnan(members)) + 1))
    for place, mode in zip(places, modes, strict=True):
        if mode == _BRANCH_MEMBER and 0 <= place < len(columns):
            for value in next(sets, np.empty(0)).tolist():
                trace.add_threshold(columns[place], value)


_HANDLERS: dict[str, _Handler] = {
    "Constant": _constant,
    **dict.fromkeys(("Identity", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Imputer"), _same),
    "Scaler": _scaler,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    **dict.fromkeys(("Concat", "FeatureVectorizer"), _joined),
    **dict.fromkeys(("ArrayFeatureExtractor", "Gather"), _selected),
    "Split": _split,
    **dict.fromkeys(("LabelEncoder", "OneHotEncoder", "CategoryMapper"), _encoder),
    **dict.fromkeys(("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"), _comparison),
    **dict.fromkeys(("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"), _trees),
}
