"""One operator's call on symbolic values, and what any operator can be taken for: new columns of all that it reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from scoring.reasons.graph.symbols import Expression, Symbolic, columns, constant, is_symbolic, owners_of

Attributes = Mapping[str, Any]
# What an operator's outputs looked like in a run on one row, by tensor name.
Probe = Mapping[str, Any]


class NodeCall:
    """One node with its inputs' symbolic values."""

    def __init__(self, node: onnx.NodeProto, inputs: Sequence[Symbolic], attributes: Attributes, probe: Probe) -> None:
        self.node = node
        self.inputs = inputs
        self.attributes = attributes
        self.probe = probe

    def shape(self, output: int = 0) -> tuple[int, ...]:
        """Return the shape that an output had for one row."""
        return tuple(np.shape(self.probe[self.node.output[output]]))

    def is_floating(self, output: int = 0) -> bool:
        return np.issubdtype(np.asarray(self.probe[self.node.output[output]]).dtype, np.floating)


Operator = Callable[[NodeCall], Symbolic | None]


def new_columns(call: NodeCall, output: int = 0) -> Symbolic:
    """Return columns that depend on the matching elements where the operator works element by element, else on all."""
    shape = call.shape(output)
    owners = np.empty(shape, dtype=object)
    owners.fill(0)
    if call.node.op_type in ELEMENTWISE:
        for value in call.inputs:
            try:
                owners |= np.broadcast_to(owners_of(value), shape)
            except ValueError:
                owners |= _all_owners(value)
    else:
        for value in call.inputs:
            owners |= _all_owners(value)
    return columns(call.node.output[output], owners)


def _all_owners(value: Symbolic) -> int:
    found = 0
    for bits in owners_of(value).reshape(-1):
        found |= bits
    return found


def elements(value: Symbolic) -> Symbolic:
    """Return the value as an array of elements, constants included."""
    if is_symbolic(value):
        return value
    return np.asarray(np.frompyfunc(constant, 1, 1)(value), dtype=object)


def each(combine: Callable[..., Expression | None], *values: Any) -> Symbolic | None:
    """Apply `combine` element by element; None when one of the results has no shape of its own."""
    if any(value.dtype.kind not in "biufO" for value in values):
        return None
    found = np.frompyfunc(combine, len(values), 1)(*[elements(value) for value in values])
    return None if any(element is None for element in np.ravel(found)) else np.asarray(found, dtype=object)


# Expression i of the output depends on element i of the inputs alone, broadcast as usual.
ELEMENTWISE = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "Binarizer", "Cast", "CastLike",
    "CategoryMapper", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu",
    "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "Imputer", "IsInf", "IsNaN", "LabelEncoder",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu",
    "Pow", "Reciprocal", "Relu", "Round", "Scaler", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign",
    "Sqrt", "StringNormalizer", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
})  # fmt: skip
