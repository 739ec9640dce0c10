"""Where columns are fields, the values are those of shap's interventional tree explainer with the same background."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import shap
import xgboost
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

from tests.support.explained_models import open_model

FIELDS = 20
RNG = np.random.default_rng(20_261_130)
X = RNG.normal(size=(500, FIELDS)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] + X[:, 2] + 0.5 * X[:, 3] ** 2 + RNG.normal(scale=0.5, size=500) > 0.6).astype(int)
NAMES = tuple(f"v{i}" for i in range(FIELDS))


def converted(model: Any) -> Any:
    types = [("x", FloatTensorType([None, FIELDS]))]
    if isinstance(model, lightgbm.LGBMClassifier):
        return convert_lightgbm(model, initial_types=types, zipmap=False)
    if isinstance(model, xgboost.XGBClassifier):
        return convert_xgboost(model, initial_types=types)
    return to_onnx(model, X[:1], options={"zipmap": False})


@pytest.mark.parametrize(
    "model",
    [
        lightgbm.LGBMClassifier(n_estimators=60, verbosity=-1),
        xgboost.XGBClassifier(n_estimators=40, max_depth=5),
        GradientBoostingClassifier(n_estimators=60, max_depth=4),
        RandomForestClassifier(20, max_depth=8, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_the_values_are_those_of_shap(model: Any, tmp_path: Path) -> None:
    model.fit(X, Y)
    background, events = X[:128], X[128:160]
    # Given an array, shap would quietly take 100 of its rows.
    masker = shap.maskers.Independent(background, max_samples=len(background))
    oracle = shap.TreeExplainer(model, masker, feature_perturbation="interventional")
    expected = np.asarray(oracle.shap_values(events, check_additivity=False))
    expected = expected[:, :, 1] if expected.ndim == 3 else expected
    payloads = [{name: float(v) for name, v in zip(NAMES, row, strict=True)} for row in X[:160]]
    opened = open_model(converted(model), tmp_path, payloads, features=NAMES)
    explainer = opened.explainer(opened.rows[:128])
    impacts = explainer.explain(opened.rows[128:], [""] * 32)
    assert impacts.method == "exact"
    assert impacts.values == pytest.approx(expected, abs=1e-5)
    assert impacts.base == pytest.approx(float(np.ravel(oracle.expected_value)[-1]), abs=1e-5)
