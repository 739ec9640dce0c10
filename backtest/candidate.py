"""The version under test, opened as the workers open it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from registry.columns import ColumnFeed, ReadEvents
from registry.model_session import ModelSession
from registry.model_version import Thresholds
from registry.signature import Signature

log = logging.getLogger("sira.backtest.candidate")


class Candidate:
    """Scores batches of events with a version's artifact."""

    def __init__(self, signature: Signature, thresholds: Thresholds, artifact: Path | bytes) -> None:
        self._session = ModelSession(signature, artifact)
        self._feed = ColumnFeed(signature.inputs)
        self.thresholds = thresholds

    def read(self, payloads: pa.Array, columns: Mapping[str, pa.Array]) -> ReadEvents:
        return self._feed.read(payloads, columns)

    def score(self, inputs: Mapping[str, Any], rows: int) -> Any:
        """Return a score per row; NaN where the model raised or gave no probability."""
        try:
            return self._session.score_inputs(dict(inputs), rows)
        except Exception as error:
            if rows == 1:
                log.debug("model_raised", extra={"error": type(error).__name__})
                return np.full(1, np.nan)
        # As a worker does: score in halves, so that only the bad rows have no score.
        half = rows // 2
        first = {name: value[:half] for name, value in inputs.items()}
        second = {name: value[half:] for name, value in inputs.items()}
        return np.concatenate([self.score(first, half), self.score(second, rows - half)])
