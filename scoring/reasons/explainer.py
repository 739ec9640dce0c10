"""One model version's explanations: reads its graph, and explains rows against a fixed background."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from registry.feed import Row
from registry.model_session import ModelSession, open_session
from registry.signature import Signature
from scoring.reasons.explanation import Impacts, Method, Scale, additive
from scoring.reasons.graph.margin import GraphUnreadable, Margin, read_margin, tensors_of
from scoring.reasons.graph.subgraph import COPIED, with_outputs
from scoring.reasons.shapley.deep_leaves import ForestTooLarge
from scoring.reasons.shapley.leaves import ForestTooDeep, read_leaves
from scoring.reasons.shapley.linear import LinearShapley
from scoring.reasons.shapley.sampled import SampledShapley
from scoring.reasons.shapley.trees import TreeShapley

log = logging.getLogger("sira.scoring.reasons.explainer")


class Explainer:
    """Explains rows of one model against `background`, rows of the same signature.

    `method` exact or linear where the graph can be read; otherwise sampled, and `sampled_because` says why.
    """

    def __init__(
        self, signature: Signature, artifact: bytes, background: Sequence[Row], session: ModelSession | None = None
    ) -> None:
        """Open the model (or take its `session`) and prepare; raises what onnxruntime raises."""
        self._session = session or ModelSession(signature, artifact)
        self._exact: _Exact | None = None
        self._sampled: SampledShapley | None = None
        self.sampled_because: str | None = None
        try:
            self._exact = _Exact(onnx.load_model_from_string(artifact), signature, background, self._session)
            self.method: Method = self._exact.method
            self.scale: Scale = self._exact.scale
            self.base = self._exact.base
        except (GraphUnreadable, ForestTooDeep, ForestTooLarge) as unreadable:
            self.sampled_because = str(unreadable)
            log.info("reasons_are_sampled", extra={"reason": self.sampled_because})
            self._sampled = SampledShapley(self._session.score, background)
            self.method, self.scale, self.base = "sampled", self._sampled.scale, self._sampled.base

    @property
    def table_bytes(self) -> int:
        """Return the size of the tables, which stay in memory: 0 for a linear or a sampled method."""
        return self._exact.table_bytes if self._exact else 0

    def explain(self, rows: Sequence[Row], seeds: Sequence[str]) -> Impacts:
        """Return the impacts of n rows; `seeds` fix what is random about sampling, one per row."""
        if self._exact:
            return Impacts(self.method, self.scale, self.base, self._exact.explain(rows))
        assert self._sampled is not None
        found = [self._sampled.explain(row, seed) for row, seed in zip(rows, seeds, strict=True)]
        values, errors = (np.array(part) for part in zip(*found, strict=True))
        return Impacts(self.method, self.scale, self.base, values, errors)


class _Exact:
    """Trees and weights as the graph has them, checked on the background. Raises why they cannot be had."""

    def __init__(
        self, model: onnx.ModelProto, signature: Signature, background: Sequence[Row], session: ModelSession
    ) -> None:
        feed, fields = session.feed, len(signature.fields)
        probe = _probe(model, feed.inputs(background[:1]))
        margin = read_margin(model, signature.inputs, signature.output, probe)
        self._columns = _Columns(model, margin, feed)
        self.method: Method = "exact" if margin.ensembles else "linear"
        self.scale: Scale = margin.scale
        tensors = self._columns.values(background)
        self._trees, self._linear = None, None
        self.base = margin.intercept
        if margin.ensembles:
            leaves = read_leaves(margin.ensembles, {name: value.dtype for name, value in tensors.items()})
            self._tree_columns = leaves.columns
            self._trees = TreeShapley(leaves, _chosen(tensors, leaves.columns), fields)
            self.base += self._trees.base
        if margin.columns:
            self._weighted = [(column.tensor, column.index) for column in margin.columns]
            self._linear = LinearShapley(
                np.array([column.weight for column in margin.columns]),
                np.array([column.owner for column in margin.columns]),
                _chosen(tensors, self._weighted),
                fields,
            )
            self.base += self._linear.base
        impacts = Impacts(self.method, self.scale, self.base, self.explain(background))
        if not additive(impacts, session.score(background)).all():
            raise GraphUnreadable("what was read of the graph does not add up to the model's own scores")

    @property
    def table_bytes(self) -> int:
        return self._trees.table_bytes if self._trees else 0

    def explain(self, rows: Sequence[Row]) -> Any:
        tensors = self._columns.values(rows)
        found: Any = 0.0
        if self._trees:
            found = self._trees.explain(_chosen(tensors, self._tree_columns))
        if self._linear:
            found = found + self._linear.explain(_chosen(tensors, self._weighted))
        return found


class _Columns:
    """The tensors that a margin is computed from, for rows of the payload."""

    def __init__(self, model: onnx.ModelProto, margin: Margin, feed: Any) -> None:
        self._feed = feed
        self._tensors = tensors_of(margin)
        inputs = {value.name for value in model.graph.input}
        self._session = None
        if not set(self._tensors) <= inputs:
            part = with_outputs(model, self._tensors)
            self._session = open_session(part.SerializeToString())
            self._outputs = [output.name for output in part.graph.output]

    def values(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return each tensor by name: (n, columns)."""
        inputs = self._feed.inputs(rows)
        if self._session is None:
            found = [inputs[name] for name in self._tensors]
        else:
            taken = {value.name for value in self._session.get_inputs()}
            found = self._session.run(self._outputs, {name: v for name, v in inputs.items() if name in taken})
        shaped = (np.asarray(value).reshape(len(rows), -1) for value in found)
        return dict(zip(self._tensors, shaped, strict=True))


def _chosen(tensors: Mapping[str, Any], columns: Sequence[tuple[str, int]]) -> Any:
    """The columns as float64: (columns, n). Whole numbers go through float32, in which onnxruntime compares them."""
    first, rest = columns[0][0], {name for name, _ in columns}
    if len(rest) == 1:
        block = tensors[first]
        block = block if block.dtype in (np.float32, np.float64) else block.astype(np.float32)
        return block.T[[index for _, index in columns]].astype(np.float64)
    return np.concatenate([_chosen(tensors, [column]) for column in columns])


def _probe(model: onnx.ModelProto, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Run the graph on one row with every tensor as an output; raises GraphUnreadable when that cannot be done."""
    tensors = tuple(dict.fromkeys(name for node in model.graph.node for name in node.output if name))
    try:
        session = open_session(with_outputs(model, tensors).SerializeToString())
        taken = {value.name for value in session.get_inputs()}
        found = session.run(None, {name: value for name, value in inputs.items() if name in taken})
    except Exception as error:
        raise GraphUnreadable(f"its tensors cannot be had one by one: {type(error).__name__}") from None
    names = [output.name.removesuffix(COPIED) for output in session.get_outputs()]
    return {**inputs, **dict(zip(names, found, strict=True))}
