"""Matrix products and linear models on symbolic values."""

import numpy as np

from scoring.reasons.graph.arithmetic import scaled_by, softmax_of_two
from scoring.reasons.graph.node_call import NodeCall, each
from scoring.reasons.graph.symbols import Symbolic, added, complement, is_symbolic, scaled, sigmoid

# Matrix products of more multiplications than this become new columns: each one is a Python object.
_MAX_PRODUCTS = 200_000


def matmul(call: NodeCall) -> Symbolic | None:
    return _product(call.inputs[0], call.inputs[1])


def gemm(call: NodeCall) -> Symbolic | None:
    left, right = call.inputs[0], call.inputs[1]
    given = call.attributes
    left = left.T if given.get("transA") else left
    right = right.T if given.get("transB") else right
    product = _product(left, right)
    if product is None:
        return None
    alpha, beta = np.float64(given.get("alpha", 1.0)), np.float64(given.get("beta", 1.0))
    found = each(scaled_by, product, alpha)
    if found is None or len(call.inputs) < 3:
        return found
    bias = call.inputs[2]
    return None if is_symbolic(bias) else each(lambda *both: added(both), found, bias * beta)


def _product(left: Symbolic, right: Symbolic) -> Symbolic | None:
    if not is_symbolic(left) or is_symbolic(right) or right.ndim != 2 or left.ndim != 2:
        return None
    width = max((len(element.terms) for element in left.reshape(-1)), default=1)
    if right.size * max(width, 1) > _MAX_PRODUCTS:
        return None
    found = np.empty((left.shape[0], right.shape[1]), dtype=object)
    for row in range(left.shape[0]):
        for column in range(right.shape[1]):
            weights = right[:, column]
            parts = [scaled(left[row, i], float(weights[i])) for i in np.flatnonzero(weights)]
            if any(part is None for part in parts):
                return None
            found[row, column] = added(part for part in parts if part is not None)
    return found


def _linear(call: NodeCall, targets: int) -> Symbolic | None:
    """Scores of a linear model, before its post transform: (1, targets)."""
    weights = np.asarray(call.attributes["coefficients"], np.float64).reshape(targets, -1)
    scores = _product(call.inputs[0], weights.T)
    intercepts = np.asarray(call.attributes.get("intercepts", [0.0] * targets), np.float64)
    return None if scores is None else each(lambda *both: added(both), scores, intercepts[None, :])


def linear_regressor(call: NodeCall) -> Symbolic | None:
    if call.attributes.get("post_transform", "NONE") != "NONE":
        return None
    return _linear(call, int(call.attributes.get("targets", 1)))


def linear_classifier_scores(call: NodeCall) -> Symbolic | None:
    """Return the second output of LinearClassifier; None when it has no shape of its own."""
    intercepts = len(call.attributes.get("intercepts", ())) or 1
    scores = _linear(call, intercepts)
    if scores is None:
        return None
    transform = call.attributes.get("post_transform", "NONE")
    if intercepts == 1:
        return _second_class(scores, transform)
    if transform == "SOFTMAX":
        return softmax_of_two(scores) if scores.shape[-1] == 2 else None
    if transform == "LOGISTIC":
        return each(sigmoid, scores)
    return scores if transform == "NONE" else None


def _second_class(scores: Symbolic, transform: str) -> Symbolic | None:
    if transform != "LOGISTIC":
        return None
    positive = each(sigmoid, scores)
    negative = None if positive is None else each(complement, positive)
    return None if positive is None or negative is None else np.concatenate([negative, positive], axis=-1)
