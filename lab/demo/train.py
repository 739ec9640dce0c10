"""Two versions of the demo model, trained on invented payments and written as ONNX with one named input per column."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx.helper import set_model_props
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from lab.demo.reason_codes import REASON_CODES
from lab.demo.recipes import PRODUCT, Recipe
from lab.demo.transactions import DEFAULTS, NUMBERS, STRINGS, Transactions, transactions

REVIEW_QUANTILE, BLOCK_QUANTILE = 0.965, 0.99  # 2.5 % of payments to review, 1 % blocked
REFERENCE_ROWS = 1_000
OPSETS = {"": 19, "ai.onnx.ml": 3}


@dataclass(frozen=True)
class Trained:
    """`onnx` has thresholds and optional fields as metadata; `auc` is measured on payments it was not trained on.

    `reference`: rows of such payments with scikit-learn's own scores, as JSON lines.
    """

    recipe: Recipe
    onnx: bytes
    review: float
    block: float
    auc: float
    reference: str


def train(recipe: Recipe, *, on_tree: Callable[[], None] = lambda: None) -> Trained:
    """Fit, convert and measure one version, in seconds; `on_tree` is called once per tree."""
    seen, unseen = transactions(recipe.rows, seed=recipe.seed), transactions(20_000, seed=recipe.seed + 1)
    names = list(seen.columns)
    encoder = ColumnTransformer(
        [
            ("strings", OneHotEncoder(handle_unknown="ignore", sparse_output=False), _positions(names, STRINGS)),
            ("numbers", "passthrough", _positions(names, NUMBERS)),
        ]
    )
    classifier = GradientBoostingClassifier(
        n_estimators=recipe.trees,
        max_depth=recipe.depth,
        learning_rate=recipe.learning_rate,
        min_samples_leaf=40,
        subsample=0.5,
        max_features=0.5,
        random_state=recipe.seed,
    )
    encoded = encoder.fit_transform(table(seen)).astype(np.float32)
    classifier.fit(encoded, seen.fraud, monitor=lambda *_: on_tree())
    pipeline = Pipeline([("encoder", encoder), ("classifier", classifier)])
    scores = pipeline.predict_proba(table(unseen))[:, 1]
    review, block = (round(float(np.quantile(scores, q)), 4) for q in (REVIEW_QUANTILE, BLOCK_QUANTILE))
    onnx = _to_onnx(pipeline, names, review=review, block=block)
    auc = float(roc_auc_score(unseen.fraud, scores))
    return Trained(recipe, onnx, review, block, auc, reference=_reference(unseen, scores))


def _reference(payments: Transactions, scores: NDArray[np.float64]) -> str:
    names, rows = list(payments.columns), table(payments)[:REFERENCE_ROWS]
    lines = [
        {name: value.item() if isinstance(value, np.generic) else value for name, value in zip(names, row, strict=True)}
        | {"score": float(score), "label": int(fraud)}
        for row, score, fraud in zip(rows, scores, payments.fraud, strict=False)
    ]
    return "\n".join(map(json.dumps, lines))


def table(payments: Transactions) -> NDArray[np.object_]:
    """Return the rows as scikit-learn and the graph receive them: strings, and 32-bit numbers."""
    return np.column_stack(
        [
            column.astype(np.float32 if name in NUMBERS else object).astype(object)
            for name, column in payments.columns.items()
        ]
    )


def _positions(names: list[str], wanted: tuple[str, ...]) -> list[int]:
    return [names.index(name) for name in wanted]


def _to_onnx(pipeline: Pipeline, names: list[str], *, review: float, block: float) -> bytes:
    inputs = [(name, FloatTensorType([None, 1]) if name in NUMBERS else StringTensorType([None, 1])) for name in names]
    model = convert_sklearn(
        pipeline,
        name=PRODUCT,
        initial_types=inputs,
        options={id(pipeline["classifier"]): {"zipmap": False}},
        target_opset=OPSETS,
    )
    fields = {name: {"nullable": True, "default": default} for name, default in DEFAULTS.items()}
    set_model_props(
        model,
        {
            "sira.thresholds": json.dumps({"review": review, "block": block}),
            "sira.signature": json.dumps({"fields": fields}),
            "sira.reasons": json.dumps(REASON_CODES),
        },
    )
    return bytes(model.SerializeToString())
