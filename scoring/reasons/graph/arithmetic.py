"""Operators that add, scale and bend symbolic values element by element, or along one axis."""

from typing import Any

import numpy as np

from scoring.reasons.graph.node_call import NodeCall, each
from scoring.reasons.graph.symbols import (
    Expression,
    Symbolic,
    added,
    are_complements,
    complement,
    is_symbolic,
    negated,
    scaled,
    sigmoid,
)


def _subtract(left: Expression, right: Expression) -> Expression | None:
    if left.is_constant and left.intercept == 1.0:
        return complement(right)
    negative = scaled(right, -1.0)
    return None if negative is None else added((left, negative))


def scaled_by(left: Expression, right: Expression) -> Expression | None:
    """Return the product of an element and a constant, in either order; None for two that are no constants."""
    if left.is_constant:
        return scaled(right, left.intercept)
    return scaled(left, right.intercept) if right.is_constant else None


def _divide(left: Expression, right: Expression) -> Expression | None:
    if left.is_constant and left.intercept == 1.0 and right.shape == "one_plus_exp":
        return sigmoid(negated(right))  # 1 / (1 + exp(x))
    return scaled(left, 1.0 / right.intercept) if right.is_constant and right.intercept else None


def _exponential(element: Expression) -> Expression | None:
    return Expression(element.intercept, element.terms, "exp") if element.shape == "affine" else None


def add(call: NodeCall) -> Symbolic | None:
    return each(lambda *both: added(both), *call.inputs)


def subtract(call: NodeCall) -> Symbolic | None:
    return each(_subtract, *call.inputs)


def multiply(call: NodeCall) -> Symbolic | None:
    return each(scaled_by, *call.inputs)


def divide(call: NodeCall) -> Symbolic | None:
    return each(_divide, *call.inputs)


def negate(call: NodeCall) -> Symbolic | None:
    return each(lambda element: scaled(element, -1.0), call.inputs[0])


def absolute(call: NodeCall) -> Symbolic | None:
    """A probability is its own absolute value."""
    return each(lambda element: element if element.shape == "sigmoid" else None, call.inputs[0])


def exponential(call: NodeCall) -> Symbolic | None:
    return each(_exponential, call.inputs[0])


def logistic(call: NodeCall) -> Symbolic | None:
    return each(sigmoid, call.inputs[0])


def add_all(call: NodeCall) -> Symbolic | None:
    return each(lambda *all_of_them: added(all_of_them), *call.inputs)


def mean_of_all(call: NodeCall) -> Symbolic | None:
    found = add_all(call)
    return None if found is None else each(scaled_by, found, np.float64(1.0 / len(call.inputs)))


def _reduced(call: NodeCall) -> tuple[Symbolic, int] | None:
    """The elements that become one along the last axis, and how many they are."""
    value = call.inputs[0]
    axes: Any = call.attributes.get("axes")
    if len(call.inputs) > 1 and not is_symbolic(call.inputs[1]):
        axes = [int(axis) for axis in np.ravel(call.inputs[1])]
    if not axes or len(axes) != 1 or not is_symbolic(value):
        return None
    return np.moveaxis(value, axes[0], -1), value.shape[axes[0]]


def reduce_sum(call: NodeCall) -> Symbolic | None:
    return _reduce(call, mean=False)


def reduce_mean(call: NodeCall) -> Symbolic | None:
    return _reduce(call, mean=True)


def _reduce(call: NodeCall, *, mean: bool) -> Symbolic | None:
    reduced = _reduced(call)
    if reduced is None:
        return None
    value, count = reduced
    parts = [value[..., place] for place in range(count)]
    found = each(lambda *all_of_them: added(all_of_them), *parts)
    if found is not None and mean:
        found = each(scaled_by, found, np.float64(1.0 / count))
    return None if found is None or found.size != np.prod(call.shape()) else found.reshape(call.shape())


def scaler(call: NodeCall) -> Symbolic | None:
    value = call.inputs[0]
    offset = np.asarray(call.attributes.get("offset", [0.0]), np.float64)
    scale = np.asarray(call.attributes.get("scale", [1.0]), np.float64)
    moved = each(lambda *both: added(both), value, -offset)
    return None if moved is None else each(scaled_by, moved, scale)


def softmax(call: NodeCall) -> Symbolic | None:
    value = call.inputs[0]
    if call.attributes.get("axis", -1) not in (-1, value.ndim - 1) or value.shape[-1] != 2:
        return None
    return softmax_of_two(value)


def softmax_of_two(value: Symbolic) -> Symbolic | None:
    """Return the softmax over a last axis of two affine elements: the logistic function of their difference."""
    difference = each(_subtract, value[..., 1], value[..., 0])
    if difference is None:
        return None
    first = each(lambda element: sigmoid(negated(element)) if element.shape == "affine" else None, difference)
    second = each(sigmoid, difference)
    return None if first is None or second is None else np.stack([first, second], axis=-1)


def normalizer(call: NodeCall) -> Symbolic | None:
    """Two elements that add up to one already stay as they are under the L1 norm."""
    value = call.inputs[0]
    if call.attributes.get("norm") != "L1" or value.shape[-1] != 2 or not is_symbolic(value):
        return None
    return value if all(are_complements(first, second) for first, second in value.reshape(-1, 2)) else None
