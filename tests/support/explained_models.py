"""Models opened for explanations, with the margin that the runtime itself gives for any row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from registry.feed import raw_scores
from registry.inspection.child import inspect
from registry.inspection.metadata import ModelMetadata
from registry.model_session import ModelSession, open_session
from registry.signature import Signature
from scoring.reasons.explainer import Explainer
from tests.support.brute_force import Row, log_odds
from tests.support.trained_models import Trained


@dataclass(frozen=True)
class Opened:
    """A model with its signature, as a worker has it."""

    model: onnx.ModelProto
    signature: Signature
    rows: Sequence[Row]

    @cached_property
    def artifact(self) -> bytes:
        return bytes(self.model.SerializeToString())

    @cached_property
    def session(self) -> ModelSession:
        return ModelSession(self.signature, self.artifact)

    def explainer(self, background: Sequence[Row]) -> Explainer:
        return Explainer(self.signature, self.artifact, background, self.session)

    def margins(self, scale: str) -> Callable[[Sequence[Row]], Any]:
        """The runtime's own margins: of the graph without its logistic function, where it ends in one."""
        if scale == "probability":
            return self.session.score
        bare = without_logistic(self.model)
        if bare is None:
            return lambda rows: log_odds(self.session.score(rows))
        session, output = open_session(bare.SerializeToString()), self.signature.output

        def raw(rows: Sequence[Row]) -> Any:
            value = session.run([output.name], self.session.feed.inputs(rows))[0]
            return np.asarray(raw_scores(output, value, len(rows)), np.float64)

        return raw


def open_trained(trained: Trained, folder: Path) -> Opened:
    """Inspect a model as registration does, and make rows of its payloads."""
    return open_model(trained.model, folder, trained.payloads, **trained.declared)


def open_model(model: onnx.ModelProto, folder: Path, payloads: Sequence[dict[str, Any]], **declared: Any) -> Opened:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    signature = inspect(path, ModelMetadata(**declared)).signature
    feed = ModelSession(signature, path).feed
    return Opened(model, signature, [feed.row(payload) for payload in payloads])


def without_logistic(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The same graph with the ensemble's own sum as its output; None when it does not end in an ensemble's logistic."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    ensembles = [node for node in bare.graph.node if node.op_type == "TreeEnsembleClassifier"]
    others = {node.op_type for node in bare.graph.node} & {"Normalizer", "Sub", "Softmax", "LinearClassifier", "Exp"}
    if len(ensembles) != 1 or others:
        return None
    for attribute in ensembles[0].attribute:
        if attribute.name == "post_transform" and attribute.s == b"LOGISTIC":
            attribute.s = b"NONE"
            return bare
    return None
