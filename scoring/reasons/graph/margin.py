"""What a model's fraud probability is made of: the sum of trees and weights behind it, and the scale of that sum."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from registry.signature import ModelInputs, ModelOutput
from scoring.reasons.explanation import Scale
from scoring.reasons.graph.arithmetic import softmax_of_two
from scoring.reasons.graph.ensembles import OPERATORS, Ensemble, EnsembleUnreadable, read_ensemble
from scoring.reasons.graph.linear import linear_classifier_scores
from scoring.reasons.graph.node_call import Attributes, NodeCall, Probe, new_columns
from scoring.reasons.graph.operators import interpret
from scoring.reasons.graph.subgraph import read_by
from scoring.reasons.graph.symbols import (
    Expression,
    Symbolic,
    TreeSum,
    columns,
    complement,
    constant,
    owners_of,
    scaled,
    sigmoid,
)

_ML = "ai.onnx.ml"


class GraphUnreadable(Exception):
    """The score is not a sum of trees and weights that this reader follows: explain the model by sampling."""


@dataclass(frozen=True, slots=True)
class WeightedEnsemble:
    """`weights[leaf]` is what a leaf adds to the margin; `owners[i]` is the field of column i of tensor `tensor`."""

    ensemble: Ensemble
    weights: Any
    tensor: str
    owners: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class WeightedColumn:
    """A column of a tensor (flat index), the one field that it depends on, and its weight in the margin."""

    tensor: str
    index: int
    owner: int
    weight: float


@dataclass(frozen=True, slots=True)
class Margin:
    """`intercept` + trees + weighted columns: the log odds of the probability, or the probability itself."""

    scale: Scale
    intercept: float
    ensembles: tuple[WeightedEnsemble, ...]
    columns: tuple[WeightedColumn, ...]


def read_margin(model: onnx.ModelProto, inputs: ModelInputs, output: ModelOutput, probe: Probe) -> Margin:
    """Return what the probability in `output` is made of. Raises GraphUnreadable.

    `probe` has the value of every tensor of the graph for one row, so that their shapes and types need not be guessed.
    """
    reader = _Reader(model, inputs, probe)
    element = reader.probability(output)
    if element.shape not in ("sigmoid", "affine"):
        raise GraphUnreadable("the probability is neither a sum nor the logistic function of one")
    sums: dict[str, dict[int, float]] = {}
    weighted: list[WeightedColumn] = []
    for term, weight in element.terms.items():
        if isinstance(term, TreeSum):
            sums.setdefault(term.ensemble, {})[term.target] = weight
        elif term.owner is None:
            raise GraphUnreadable(f"column {term.index} of {term.tensor} depends on several fields, or on none")
        else:
            weighted.append(WeightedColumn(term.tensor, term.index, term.owner, weight))
    if not sums and not weighted:
        raise GraphUnreadable("the probability is a constant")
    return Margin(
        scale="log_odds" if element.shape == "sigmoid" else "probability",
        intercept=element.intercept,
        ensembles=tuple(reader.weighted(name, targets) for name, targets in sums.items()),
        columns=tuple(sorted(weighted, key=lambda column: (column.tensor, column.index))),
    )


def tensors_of(margin: Margin) -> tuple[str, ...]:
    """Return the tensors whose values the margin is computed from, sorted."""
    return tuple(sorted({e.tensor for e in margin.ensembles} | {c.tensor for c in margin.columns}))


class _Reader:
    """Carries symbolic values from the model's inputs to its outputs."""

    def __init__(self, model: onnx.ModelProto, inputs: ModelInputs, probe: Probe) -> None:
        self._probe = probe
        self._ensembles: dict[str, tuple[Ensemble, str]] = {}
        self._values: dict[str, Symbolic] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._zipped: dict[str, tuple[Symbolic, list[Any]]] = {}
        self._read_inputs(inputs)
        for node in model.graph.node:
            self._read_node(node)

    def probability(self, output: ModelOutput) -> Expression:
        """Return the element that holds the fraud probability."""
        place = int(output.positive) if output.layout == "probabilities" else 0
        if output.layout == "zipmap":
            if output.name not in self._zipped:
                raise GraphUnreadable(f"{output.name} does not come from a ZipMap")
            value, labels = self._zipped[output.name]
            place = labels.index(output.positive)
        elif output.name in self._values:
            value = self._values[output.name]
        else:
            raise GraphUnreadable(f"nothing computes {output.name}")
        flat = value.reshape(-1)
        element = flat[place] if place < len(flat) else None
        if not isinstance(element, Expression):
            raise GraphUnreadable(f"{output.name} does not depend on the payload")
        return element

    def weighted(self, name: str, targets: Mapping[int, float]) -> WeightedEnsemble:
        """Return an ensemble with the weight of its targets folded into its leaves; raises GraphUnreadable."""
        ensemble, tensor = self._ensembles[name]
        owners = owners_of(self._values[tensor]).reshape(-1)
        used = np.unique(ensemble.column)
        if len(used) and used[-1] >= len(owners):
            raise GraphUnreadable(f"{name} reads more columns than {tensor} has")
        if any(owners[column].bit_count() != 1 for column in used):
            raise GraphUnreadable(f"{name} reads a column that depends on several fields, or on none")
        weights = sum(weight * ensemble.weights[:, target] for target, weight in targets.items())
        single = tuple(bits.bit_length() - 1 if bits.bit_count() == 1 else None for bits in owners)
        return WeightedEnsemble(ensemble, np.asarray(weights, np.float64), tensor, single)

    def _read_inputs(self, inputs: ModelInputs) -> None:
        places: dict[str, list[int]] = {}
        for place, field in enumerate(inputs.fields):
            places.setdefault(inputs.input_of(field), []).append(place)
        for name, fields in places.items():
            owners = np.array([1 << place for place in fields], dtype=object)
            self._values[name] = columns(name, owners.reshape(np.shape(self._probe[name])))

    def _read_node(self, node: onnx.NodeProto) -> None:
        inputs = [self._value(name) for name in read_by(node)]
        attributes = _attributes(node)
        call = NodeCall(node, inputs, attributes, self._probe)
        if node.op_type == "ZipMap":
            labels = attributes.get("classlabels_int64s") or attributes.get("classlabels_strings")
            self._zipped[node.output[0]] = (inputs[0], list(labels or ()))
            return
        if node.op_type == "Constant":
            value = next(iter(attributes.values()))
            self._values[node.output[0]] = np.asarray(value)
            return
        known = self._scores(call)
        for output, name in enumerate(node.output):
            if name in known:
                self._values[name] = known[name]
            elif name:
                first = output == 0 and not known and len(node.output) == 1
                self._values[name] = interpret(call) if first else new_columns(call, output)

    def _scores(self, call: NodeCall) -> dict[str, Symbolic]:
        """What an ensemble or a linear classifier puts out, as far as it is a sum or the logistic function of one."""
        node = call.node
        if node.domain != _ML:
            return {}
        scores: Symbolic | None = None
        if node.op_type in OPERATORS:
            try:
                ensemble = read_ensemble(node, call.attributes)
            except EnsembleUnreadable:
                return {}
            name = node.output[-1]
            self._ensembles[name] = (ensemble, node.input[0])
            scores = _ensemble_scores(name, ensemble, call.inputs[0])
        elif node.op_type == "LinearClassifier":
            scores = linear_classifier_scores(call)
        if scores is None or scores.size != np.size(self._probe[node.output[-1]]):
            return {}
        return {node.output[-1]: scores.reshape(np.shape(self._probe[node.output[-1]]))}

    def _value(self, name: str) -> Symbolic:
        value = self._values.get(name)
        return np.zeros(0) if value is None else value


def _ensemble_scores(name: str, ensemble: Ensemble, inputs: Symbolic) -> Symbolic | None:
    """The scores of one row: (1, targets); None where they are no sum, nor the logistic function of one."""
    if ensemble.aggregate not in ("SUM", "AVERAGE"):
        return None
    owners = 0
    for bits in owners_of(inputs).reshape(-1)[np.unique(ensemble.column)]:
        owners |= bits
    share = 1.0 / ensemble.trees if ensemble.aggregate == "AVERAGE" else 1.0
    bases = ensemble.base_values if ensemble.base_values.size else np.zeros(ensemble.weights.shape[1])
    if ensemble.one_class:
        return _one_class(Expression(float(bases[-1]), {TreeSum(name, 0, owners): share}), ensemble)
    raw = np.empty((1, ensemble.weights.shape[1]), dtype=object)
    if len(bases) != raw.shape[1]:
        return None
    for target in range(raw.shape[1]):
        raw[0, target] = Expression(float(bases[target]), {TreeSum(name, target, owners): share})
    if ensemble.transform == "NONE":
        return raw
    if ensemble.transform == "LOGISTIC":
        return np.asarray(np.frompyfunc(sigmoid, 1, 1)(raw), dtype=object)
    return softmax_of_two(raw) if ensemble.transform == "SOFTMAX" and raw.shape[1] == 2 else None


def _one_class(score: Expression, ensemble: Ensemble) -> Symbolic | None:
    """Both columns of a classifier that sums up one class only, as onnxruntime fills them."""
    second: Expression | None = score
    first: Expression | None
    if ensemble.transform == "LOGISTIC":
        second = sigmoid(score)
        first = None if second is None else complement(second)
    elif ensemble.transform == "NONE":
        # Weights that are all positive are probabilities; others are a margin, which counts for both sides.
        positive = bool((ensemble.weights >= 0).all())
        first = complement(score) if positive else scaled(score, -1.0)
    else:
        return None
    pair = np.empty((1, 2), dtype=object)
    pair[0, 0], pair[0, 1] = first or constant(0.0), second
    return pair


def _attributes(node: onnx.NodeProto) -> Attributes:
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.STRING:
            value = value.decode(errors="replace")
        elif attribute.type == onnx.AttributeProto.STRINGS and attribute.name != "nodes_modes":
            value = [text.decode(errors="replace") for text in value]
        elif attribute.type == onnx.AttributeProto.TENSOR:
            value = numpy_helper.to_array(value)
        found[attribute.name] = value
    return found
