"""Scores recomputed with onnxruntime alone, without any of the product's code between payload and probability."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import it governs

import numpy as np
import onnxruntime

from lab.demo.transactions import DEFAULTS, NUMBERS

FRAUD_COLUMN = 1


class Recomputation:
    """One session per artifact, opened when it is first needed."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """`paths`: sha256 of an artifact -> its file."""
        self._paths = paths
        self._sessions: dict[str, Any] = {}

    def scores(self, artifact_sha256: str, payloads: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return the n fraud probabilities of n payloads."""
        session = self._sessions.get(artifact_sha256)
        if session is None:
            session = self._sessions[artifact_sha256] = _open(self._paths[artifact_sha256])
        feed = {field.name: _column(field.name, payloads) for field in session.get_inputs()}
        return [float(score) for score in session.run(["probabilities"], feed)[0][:, FRAUD_COLUMN]]


def _open(path: Path) -> Any:
    # One thread: two would sum the trees of a row in another order, and the last bits of its score would differ.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def _column(name: str, payloads: Sequence[Mapping[str, Any]]) -> Any:
    values = [DEFAULTS[name] if payload.get(name) is None else payload[name] for payload in payloads]
    return np.array(values, dtype=np.float32 if name in NUMBERS else object).reshape(-1, 1)
