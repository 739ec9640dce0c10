"""The cost of an exact explanation, beside shap with the same background.

Boosted trees of LightGBM over numeric fields, 128 background rows. Every figure is the median over rounds in which the
contenders take turns; alone means one call per event, in batches means one call per 1,000 events.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import lightgbm
import numpy as np
import shap
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from lab.benchmarks.scale.finding import Row
from registry.feed import Row as ModelRow
from registry.inspection.child import inspect
from registry.inspection.metadata import ModelMetadata
from registry.model_session import ModelSession
from scoring.reasons.explainer import Explainer

BACKGROUND, BATCH, ROWS = 128, 1_000, 4_000
SEED = 20_261_127


@dataclass(frozen=True)
class Shape:
    trees: int
    leaves: int
    fields: int


SHAPES = tuple(
    Shape(trees, leaves, fields) for fields in (11, 100) for trees in (100, 300, 1_000) for leaves in (31, 63)
)
QUICK_SHAPES = (Shape(300, 31, 11), Shape(300, 31, 100))
# The goals of the shape that the service is built for, in microseconds per event.
GOAL = Shape(300, 31, 11)
MAX_ALONE_US, MAX_BATCH_US, MIN_TIMES_FASTER = 500.0, 100.0, 10.0


@dataclass(frozen=True)
class ReasonsFigure:
    """Medians in microseconds per event; `load_seconds` and `table_mib` are the explainer's once per version."""

    shape: Shape
    alone_us: float
    batch_us: float
    shap_alone_us: float
    shap_batch_us: float
    load_seconds: float
    table_mib: float

    def missed(self) -> list[str]:
        """Return which goals the figures miss; only GOAL has any."""
        if self.shape != GOAL:
            return []
        goals = {
            f"alone at most {MAX_ALONE_US:g} us": self.alone_us <= MAX_ALONE_US,
            f"in batches at most {MAX_BATCH_US:g} us": self.batch_us <= MAX_BATCH_US,
            f"alone {MIN_TIMES_FASTER:g} times shap": self.shap_alone_us >= MIN_TIMES_FASTER * self.alone_us,
            f"in batches {MIN_TIMES_FASTER:g} times shap": self.shap_batch_us >= MIN_TIMES_FASTER * self.batch_us,
        }
        return [goal for goal, reached in goals.items() if not reached]


@dataclass(frozen=True)
class _Contenders:
    explainer: Explainer
    oracle: Any
    rows: list[ModelRow]
    values: Any
    load_seconds: float


def _prepare(shape: Shape) -> _Contenders:
    rng = np.random.default_rng(SEED)
    values = rng.normal(size=(ROWS, shape.fields)).astype(np.float32)
    odds = values[:, 0] * values[:, 1] + values[:, 2] + 0.5 * values[:, 3] ** 2 + values[:, 4:].sum(axis=1) / 10
    fraud = (odds + rng.normal(scale=0.5, size=ROWS) > 1.0).astype(int)
    model = lightgbm.LGBMClassifier(
        n_estimators=shape.trees, num_leaves=shape.leaves, min_child_samples=5, learning_rate=0.05, verbosity=-1
    ).fit(values, fraud)
    types = [("x", FloatTensorType([None, shape.fields]))]
    artifact = convert_lightgbm(model, initial_types=types, zipmap=False).SerializeToString()
    names = tuple(f"v{i}" for i in range(shape.fields))
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(artifact)
        file.flush()
        signature = inspect(Path(file.name), ModelMetadata(features=names)).signature
    session = ModelSession(signature, artifact)
    payloads = (dict(zip(names, map(float, row), strict=True)) for row in values[: BACKGROUND + BATCH])
    rows = [session.feed.row(payload) for payload in payloads]
    started = time.perf_counter()
    explainer = Explainer(signature, artifact, rows[:BACKGROUND], session)
    load_seconds = time.perf_counter() - started
    masker = shap.maskers.Independent(values[:BACKGROUND], max_samples=BACKGROUND)
    oracle = shap.TreeExplainer(model, masker, feature_perturbation="interventional")
    return _Contenders(explainer, oracle, rows[BACKGROUND:], values[BACKGROUND : BACKGROUND + BATCH], load_seconds)


def figures(shapes: tuple[Shape, ...], rounds: int) -> Iterator[ReasonsFigure]:
    for shape in shapes:
        yield _measure(shape, _prepare(shape), rounds)


def _measure(shape: Shape, contenders: _Contenders, rounds: int) -> ReasonsFigure:
    ours, rows = contenders.explainer, contenders.rows
    events = 100
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "alone": (events, lambda: [ours.explain(rows[i : i + 1], [""]) for i in range(events)]),
        "batch": (BATCH, lambda: ours.explain(rows, [""] * BATCH)),
        "shap_alone": (10, lambda: [_shap(contenders, slice(i, i + 1)) for i in range(10)]),
        "shap_batch": (100, lambda: _shap(contenders, slice(0, 100))),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, (count, work) in works.items():
            started = time.perf_counter()
            work()
            seconds[name].append((time.perf_counter() - started) / count)
    us = {name: median(found) * 1e6 for name, found in seconds.items()}
    return ReasonsFigure(
        shape, us["alone"], us["batch"], us["shap_alone"], us["shap_batch"], contenders.load_seconds,
        ours.table_bytes / 2**20,
    )  # fmt: skip


def _shap(contenders: _Contenders, part: slice) -> object:
    return contenders.oracle.shap_values(contenders.values[part], check_additivity=False)


def rows(found: Sequence[ReasonsFigure]) -> list[Row]:
    """Return the figures as rows of a table, with what shap takes for one of ours."""
    return [
        {
            "trees": one.shape.trees,
            "leaves": one.shape.leaves,
            "fields": one.shape.fields,
            "alone, us": one.alone_us,
            "in batches, us": one.batch_us,
            "shap alone, us": one.shap_alone_us,
            "shap in batches, us": one.shap_batch_us,
            "times": min(one.shap_alone_us / one.alone_us, one.shap_batch_us / one.batch_us),
            "load, s": one.load_seconds,
            "tables, MiB": one.table_mib,
        }
        for one in found
    ]
