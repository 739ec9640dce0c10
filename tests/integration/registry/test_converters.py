"""Each converter's models, registered and scored as the service does: the scores are the library's own."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from catboost import CatBoostClassifier
from lightgbm import Dataset as LightGbmData
from lightgbm import LGBMClassifier, train
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as OnnxmlFloats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier

from registry.artifacts import open_store
from registry.registration import Declaration, register
from runtime.postgres import Connection
from scoring.onnx_model import OnnxModel

FEATURES = ("v1", "v2", "v3", "v4")
RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(400, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] ** 2 + RANDOM.normal(scale=0.5, size=400) > 1).astype(int)
GAPS = np.where(RANDOM.random(X.shape) < 0.2, np.nan, X).astype(np.float32)
NAMES = np.where(Y == 1, "fraud", "legitimate")


@dataclass(frozen=True)
class Case:
    """A model in ONNX, and the library's own fraud probability for rows of X."""

    onnx: Any
    scores: Any
    layout: str
    positive: int | str = 1


def sklearn_maps() -> Case:
    model = LogisticRegression().fit(X, Y)
    return Case(to_onnx(model, X[:1]), model.predict_proba(X)[:, 1], "zipmap")


def sklearn_tensor() -> Case:
    model = GradientBoostingClassifier(n_estimators=20).fit(X, Y)
    converted = to_onnx(model, X[:1], options={"zipmap": False})
    return Case(converted, model.predict_proba(X)[:, 1], "probabilities")


def sklearn_columns() -> Case:
    model = LogisticRegression().fit(X, Y)
    converted = to_onnx(model, X[:1], options={"zipmap": "columns"})
    return Case(converted, model.predict_proba(X)[:, 1], "probability")


def sklearn_named_classes() -> Case:
    model = LogisticRegression().fit(X, NAMES)  # sorted: fraud comes first
    return Case(to_onnx(model, X[:1]), model.predict_proba(X)[:, 0], "zipmap", "fraud")


def sklearn_named_classes_in_a_tensor() -> Case:
    model = LogisticRegression().fit(X, NAMES)
    converted = to_onnx(model, X[:1], options={"zipmap": False})
    return Case(converted, model.predict_proba(X)[:, 0], "probabilities", 0)


def lightgbm_maps() -> Case:
    model = LGBMClassifier(n_estimators=20, verbose=-1).fit(X, Y)
    converted = convert_lightgbm(model, initial_types=[("input", OnnxmlFloats([None, 4]))])
    return Case(converted, model.predict_proba(X)[:, 1], "zipmap")


def lightgbm_tensor() -> Case:
    model = LGBMClassifier(n_estimators=20, verbose=-1).fit(X, Y)
    converted = convert_lightgbm(model, initial_types=[("input", OnnxmlFloats([None, 4]))], zipmap=False)
    return Case(converted, model.predict_proba(X)[:, 1], "probabilities")


def lightgbm_booster() -> Case:
    model = train({"objective": "binary", "verbose": -1}, LightGbmData(X, Y), num_boost_round=20)
    converted = convert_lightgbm(model, initial_types=[("input", OnnxmlFloats([None, 4]))])
    return Case(converted, model.predict(X), "zipmap")


def xgboost_tensor() -> Case:
    model = XGBClassifier(n_estimators=20).fit(X, Y)
    converted = convert_xgboost(model, initial_types=[("input", OnnxmlFloats([None, 4]))])
    return Case(converted, model.predict_proba(X)[:, 1], "probabilities")


def catboost_maps(tmp_path: Path, labels: Any = Y, positive: int | str = 1) -> Case:
    model = CatBoostClassifier(iterations=20, verbose=False, allow_writing_files=False).fit(X, labels)
    model.save_model(str(tmp_path / "catboost.onnx"), format="onnx")
    column = list(model.classes_).index(positive)
    return Case(onnx.load(tmp_path / "catboost.onnx"), model.predict_proba(X)[:, column], "zipmap", positive)


def catboost_named_classes(tmp_path: Path) -> Case:
    return catboost_maps(tmp_path, NAMES, "fraud")


@pytest.fixture
def serve(connection: Connection, tmp_path: Path) -> Callable[..., OnnxModel]:
    """Register a model, fetch what was stored, and open it as a worker does."""
    artifacts = open_store(f"file://{tmp_path / 'artifacts'}")

    def register_and_open(
        model: onnx.ModelProto,
        *,
        features: tuple[str, ...] | None = None,
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> OnnxModel:
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        declaration = Declaration("card_ulb", "model", "1", features=features, review=0.5, block=0.9)
        version = register(connection, artifacts, path, declaration, actor="tests").version
        fetched = artifacts.fetch(version.storage_s3_key, version.sha256, version.size_bytes, tmp_path / "models")
        return OnnxModel(version, fetched)

    return register_and_open


def scores(model: OnnxModel, payloads: list[dict[str, Any]]) -> Any:
    return model.score([model.feed.row(payload) for payload in payloads])


def payloads(rows: Any) -> list[dict[str, float]]:
    """A missing value is left out of the payload, as a caller would."""
    return [
        {name: float(value) for name, value in zip(FEATURES, row, strict=True) if not math.isnan(value)} for row in rows
    ]


@pytest.mark.parametrize(
    "convert",
    [
        sklearn_maps,
        sklearn_tensor,
        sklearn_columns,
        sklearn_named_classes,
        sklearn_named_classes_in_a_tensor,
        lightgbm_maps,
        lightgbm_tensor,
        lightgbm_booster,
        xgboost_tensor,
        catboost_maps,
        catboost_named_classes,
    ],
)
def test_a_converted_model_scores_as_its_library_does(
    serve: Callable[..., OnnxModel], tmp_path: Path, convert: Callable[..., Case]
) -> None:
    case = convert(tmp_path) if "catboost" in convert.__name__ else convert()
    model = serve(case.onnx, features=FEATURES)
    signature = model.version.signature
    assert (signature.layout, signature.output_layout, signature.positive) == ("tensor", case.layout, case.positive)
    assert scores(model, payloads(X)) == pytest.approx(np.asarray(case.scores), abs=2e-6)


GAPS_METADATA = {
    "sira.features": json.dumps(FEATURES),
    "sira.signature": json.dumps({"fields": {name: {"nullable": True} for name in FEATURES}}),
}


def lightgbm_with_gaps() -> tuple[Any, Any]:
    model = LGBMClassifier(n_estimators=20, verbose=-1).fit(GAPS, Y)
    return convert_lightgbm(model, initial_types=[("input", OnnxmlFloats([None, 4]))], zipmap=False), model


def xgboost_with_gaps() -> tuple[Any, Any]:
    model = XGBClassifier(n_estimators=20).fit(GAPS, Y)
    return convert_xgboost(model, initial_types=[("input", OnnxmlFloats([None, 4]))]), model


def sklearn_imputer_with_gaps() -> tuple[Any, Any]:
    model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(GAPS, Y)
    return to_onnx(model, GAPS[:1], options={"zipmap": False}), model


@pytest.mark.parametrize("convert", [lightgbm_with_gaps, xgboost_with_gaps, sklearn_imputer_with_gaps])
def test_absent_features_reach_the_model_as_missing_values(
    serve: Callable[..., OnnxModel], convert: Callable[[], tuple[Any, Any]]
) -> None:
    converted, library = convert()
    model = serve(converted, metadata=GAPS_METADATA)
    assert scores(model, payloads(GAPS)) == pytest.approx(library.predict_proba(GAPS)[:, 1], abs=2e-6)


def test_a_pipeline_over_strings_and_numbers_takes_one_input_a_column(serve: Callable[..., OnnxModel]) -> None:
    frame = pd.DataFrame(
        {
            "amount": RANDOM.lognormal(3, 1, 300).astype(np.float32),
            "age_days": RANDOM.integers(0, 1000, 300),
            "country": RANDOM.choice(["US", "SN", "FR"], 300),
        }
    )
    labels = (frame["amount"] > 30) ^ (frame["country"] == "FR")
    encoder = ColumnTransformer(
        [("country", OneHotEncoder(handle_unknown="ignore"), ["country"])], remainder="passthrough"
    )
    library = make_pipeline(encoder, GradientBoostingClassifier(n_estimators=10)).fit(frame, labels.astype(int))
    types = [
        ("amount", FloatTensorType([None, 1])),
        ("age_days", Int64TensorType([None, 1])),
        ("country", StringTensorType([None, 1])),
    ]
    model = serve(to_onnx(library, initial_types=types))
    assert model.version.signature.layout == "columns"
    assert [field.kind for field in model.version.signature.fields] == ["float", "int64", "string"]
    rows = [dict(row) for row in frame.to_dict("records")] + [{"amount": 50.0, "age_days": 3, "country": "unseen"}]
    expected = library.predict_proba(pd.DataFrame(rows))[:, 1]
    assert scores(model, rows) == pytest.approx(expected, abs=2e-6)


def test_a_network_with_one_sigmoid_gives_the_probability_itself(serve: Callable[..., OnnxModel]) -> None:
    weights = np.array([[0.5], [-1.0], [0.25], [2.0]], dtype=np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["z"]), onnx.helper.make_node("Sigmoid", ["z"], ["p"])],
        "network",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [onnx.helper.make_tensor_value_info("p", onnx.TensorProto.FLOAT, ["batch", 1])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = serve(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), features=FEATURES)
    assert model.version.signature.output_layout == "probability"
    assert scores(model, payloads(X)) == pytest.approx(1 / (1 + np.exp(-(X @ weights)[:, 0])), abs=2e-6)
