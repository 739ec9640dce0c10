"""The scripts of docs/models.md write reference rows that registration takes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import onnx
import pytest
import xgboost
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as OnnxmlFloats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier

from registry.inspection.metadata import ModelMetadata
from registry.inspection.parent import ReferenceRequest, inspect_model
from tests.support.trained_models import FRAME, FRAUD, NUMBERS, TRAINED, catboost_as_onnx

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
SCRIPTS = dict(re.findall(r"### (.+?)\n.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
X, Y = FRAME.astype("float32"), FRAUD


def scikit_learn() -> tuple[Any, onnx.ModelProto]:
    model = GradientBoostingClassifier(n_estimators=10).fit(X[:TRAINED].to_numpy(), Y[:TRAINED])
    model.feature_names_in_ = list(NUMBERS)  # it takes the frame as it took the matrix
    return model, to_onnx(model, initial_types=[("X", FloatTensorType([None, 4]))], options={"zipmap": False})


def light_gbm() -> tuple[Any, onnx.ModelProto]:
    data = lightgbm.Dataset(X[:TRAINED], Y[:TRAINED])
    model = lightgbm.train({"objective": "binary", "verbosity": -1}, data, 10)
    return model, convert_lightgbm(model, initial_types=[("X", OnnxmlFloats([None, 4]))], zipmap=False)


def xg_boost() -> tuple[Any, onnx.ModelProto]:
    data = xgboost.DMatrix(X[:TRAINED].to_numpy(), Y[:TRAINED])
    model = xgboost.train({"objective": "binary:logistic"}, data, 10)
    converted = convert_xgboost(model, initial_types=[("X", OnnxmlFloats([None, 4]))])
    model.feature_names = list(NUMBERS)
    return model, converted


def cat_boost() -> tuple[Any, onnx.ModelProto]:
    model = catboost.CatBoostClassifier(iterations=10, verbose=False, allow_writing_files=False)
    model.fit(X[:TRAINED], Y[:TRAINED])
    return model, catboost_as_onnx(model)


TRAINERS: dict[str, Callable[[], tuple[Any, onnx.ModelProto]]] = {
    "scikit-learn": scikit_learn,
    "LightGBM": light_gbm,
    "XGBoost": xg_boost,
    "CatBoost": cat_boost,
}


@pytest.mark.parametrize("library", TRAINERS)
def test_the_script_of_each_library_writes_rows_that_its_model_passes(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, converted = TRAINERS[library]()
    exec(SCRIPTS[library], {"model": model, "X": X[TRAINED:], "y": Y[TRAINED:]})
    (tmp_path / "model.onnx").write_bytes(converted.SerializeToString())
    inspected = inspect_model(
        tmp_path / "model.onnx",
        ModelMetadata(features=NUMBERS),
        reference=ReferenceRequest(str(tmp_path / "rows.parquet")),
    )
    assert inspected.reference is not None
    assert (inspected.reference.rows, inspected.reference.labelled) == (300, 300)


def test_every_library_of_the_page_is_tried() -> None:
    assert SCRIPTS.keys() == TRAINERS.keys()
