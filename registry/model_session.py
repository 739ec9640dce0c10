"""One way to open and run an ONNX model, the same for inspection and for serving."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import it governs

import onnxruntime

from registry.feed import Feed, Row
from registry.probability import ScoreArray
from registry.signature import Signature

RUNTIME_VERSION = f"onnxruntime {onnxruntime.__version__}"


def open_session(source: Path | bytes) -> Any:
    """Return an onnxruntime.InferenceSession on one thread; raises what onnxruntime raises."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its errors quote the values that a model failed on
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class ModelSession:
    """A model that is ready to score rows of its signature."""

    def __init__(self, signature: Signature, source: Path | bytes | onnxruntime.InferenceSession) -> None:
        """Open a file or its bytes, or take a session from `open_session`; raises what onnxruntime raises."""
        self.feed = Feed(signature)
        self._output = [signature.output_name]
        self._session = open_session(source) if isinstance(source, Path | bytes) else source

    def score(self, rows: Sequence[Row]) -> ScoreArray:
        """Return the fraud probability of each row, (n,) float64; NaN where the model gave none.

        Raises what onnxruntime raises when the model fails on a row, and what Feed.scores raises.
        """
        return self.score_inputs(self.feed.inputs(rows), len(rows))

    def score_inputs(self, inputs: dict[str, Any], rows: int) -> ScoreArray:
        """Return what `score` returns, for inputs that the feed has already made from `rows` rows."""
        outputs = self._session.run(self._output, inputs)
        return self.feed.scores(outputs[0], rows)
