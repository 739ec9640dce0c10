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
from onnxruntime import InferenceSession
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.svm import SVC, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from registry.artifacts import open_store
from registry.feed import PayloadInvalid
from registry.registration import Declaration, RegistrationRefused, register
from runtime.postgres import Connection
from scoring.models.onnx_model import OnnxModel

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
        metadata: Mapping[str, str] = MappingProxyType({}),
        **declared: Any,
    ) -> OnnxModel:
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        declaration = Declaration("card_ulb", "model", declared.pop("version", "1"), review=0.5, block=0.9, **declared)
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


# ---------------------------------------------------------------- scores a little outside [0, 1]


def forest(labels: Any) -> RandomForestClassifier:
    return RandomForestClassifier(20, random_state=1).fit(X, labels)


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize(
    ("labels", "positive"),
    [(Y, 1), (Y == 1, True), (np.where(Y == 1, 1, -1), 1), (Y + 1, 2), (NAMES, "fraud")],
    ids=["0 and 1", "truth values", "-1 and 1", "1 and 2", "names"],
)
def test_a_forests_most_certain_rows_are_scored_whatever_its_labels(
    serve: Callable[..., OnnxModel], labels: Any, positive: object, zipmap: bool
) -> None:
    """scikit-learn #25932: sums of a forest's votes in float32 give 1.0000001 and -1e-7."""
    library = forest(labels)
    converted = to_onnx(library, X[:1], options={"zipmap": zipmap})
    expected = library.predict_proba(X)[:, list(library.classes_).index(positive)]
    named = str(positive) if labels is NAMES or positive == 2 else None
    model = serve(converted, features=FEATURES, positive=named)
    served = scores(model, payloads(X))
    assert ((served >= 0) & (served <= 1)).all()
    assert served == pytest.approx(expected, abs=2e-6)


def test_a_forest_without_the_clamp_would_fail_on_its_most_certain_rows() -> None:
    """The case is real: this very forest leaves [0, 1], or the tests above would show nothing."""
    session = InferenceSession(to_onnx(forest(Y), X[:1], options={"zipmap": False}).SerializeToString())
    raw = session.run(None, {"X": X})[1][:, 1]
    assert ((raw < 0) | (raw > 1)).any()


# ---------------------------------------------------------------- what is no probability


@pytest.mark.parametrize(
    "detector",
    [IsolationForest(n_estimators=10, random_state=1), OneClassSVM(), LocalOutlierFactor(novelty=True)],
    ids=lambda detector: type(detector).__name__,
)
def test_an_outlier_detector_is_refused_as_what_it_is(serve: Callable[..., OnnxModel], detector: Any) -> None:
    converted = to_onnx(detector.fit(X), X[:1], target_opset={"": 17, "ai.onnx.ml": 3})
    with pytest.raises(RegistrationRefused, match="output scores is an anomaly score, not a probability"):
        serve(converted, features=FEATURES)


def test_the_margin_of_a_linear_svm_is_refused(serve: Callable[..., OnnxModel]) -> None:
    with pytest.raises(RegistrationRefused, match=r"is not a probability: .* If it is a raw margin"):
        serve(to_onnx(LinearSVC().fit(X, Y), X[:1]), features=FEATURES)


def test_a_forest_of_two_targets_is_refused(serve: Callable[..., OnnxModel]) -> None:
    """sklearn-onnx #889."""
    converted = to_onnx(
        RandomForestClassifier(3).fit(X, np.stack([Y, 1 - Y], axis=1)), X[:1], options={"zipmap": False}
    )
    with pytest.raises(RegistrationRefused, match="no output is a binary classifier's probability"):
        serve(converted, features=FEATURES)


@pytest.mark.parametrize(
    "library",
    [
        AdaBoostClassifier(n_estimators=10, random_state=1),  # sklearn-onnx #324
        BaggingClassifier(LogisticRegression(), 5, random_state=1),
        DecisionTreeClassifier(max_depth=4, random_state=1),  # sklearn-onnx #1080
        LogisticRegression(C=100),  # sklearn-onnx #1129
        RandomForestClassifier(5, max_depth=3, random_state=1),  # onnxruntime #4130
        SVC(probability=True, random_state=1),
    ],
    ids=lambda library: type(library).__name__,
)
def test_classifiers_of_public_reports_score_as_their_library_does(
    serve: Callable[..., OnnxModel], library: Any
) -> None:
    library.fit(X, Y)
    model = serve(to_onnx(library, X[:1]), features=FEATURES)
    assert scores(model, payloads(X)) == pytest.approx(library.predict_proba(X)[:, 1], abs=1e-5)


# ---------------------------------------------------------------- missing values


def catboost_with_gaps(tmp_path: Path) -> tuple[Any, Any]:
    model = CatBoostClassifier(iterations=20, verbose=False, allow_writing_files=False).fit(GAPS, Y)
    model.save_model(str(tmp_path / "catboost.onnx"), format="onnx")
    return onnx.load(tmp_path / "catboost.onnx"), model


TRAINED_WITH_GAPS = [lightgbm_with_gaps, xgboost_with_gaps, catboost_with_gaps, sklearn_imputer_with_gaps]


@pytest.mark.parametrize(
    "convert", [lightgbm_with_gaps, xgboost_with_gaps, catboost_with_gaps, sklearn_imputer_with_gaps]
)
@pytest.mark.parametrize("nullable", ["all", FEATURES], ids=["all", "by name"])
def test_fields_declared_nullable_take_nulls_and_score_as_the_library_does(
    serve: Callable[..., OnnxModel], tmp_path: Path, convert: Callable[..., tuple[Any, Any]], nullable: Any
) -> None:
    converted, library = convert(tmp_path) if "catboost" in convert.__name__ else convert()
    model = serve(converted, features=FEATURES, nullable=nullable)
    with_nulls = [dict.fromkeys(FEATURES) | payload for payload in payloads(GAPS)]
    assert scores(model, with_nulls) == pytest.approx(library.predict_proba(GAPS)[:, 1], abs=2e-6)


@pytest.mark.parametrize(
    "convert", [lightgbm_with_gaps, xgboost_with_gaps, catboost_with_gaps, sklearn_imputer_with_gaps]
)
def test_a_null_for_a_model_that_could_score_it_says_how_to_register_it(
    serve: Callable[..., OnnxModel], tmp_path: Path, convert: Callable[..., tuple[Any, Any]]
) -> None:
    converted, _ = convert(tmp_path) if "catboost" in convert.__name__ else convert()
    model = serve(converted, features=FEATURES)
    with pytest.raises(PayloadInvalid) as refused:
        model.feed.row({"v1": None, "v2": 1, "v3": 1, "v4": 1})
    (violation,) = refused.value.violations
    assert violation.pointer == "/v1"
    assert "register it with --nullable v1" in violation.detail


def test_a_null_where_training_had_none_scores_as_the_library_does_once_it_is_allowed(
    serve: Callable[..., OnnxModel],
) -> None:
    """LightGBM #2706, #6139: a null then counts as 0. It is refused until it is declared."""
    library = LGBMClassifier(n_estimators=20, verbose=-1).fit(X, Y)
    converted = convert_lightgbm(library, initial_types=[("input", OnnxmlFloats([None, 4]))], zipmap=False)
    assert not any(field.nullable for field in serve(converted, features=FEATURES).version.signature.fields)
    model = serve(converted, features=FEATURES, nullable="all", version="2")
    assert scores(model, payloads(GAPS)) == pytest.approx(library.predict_proba(GAPS)[:, 1], abs=2e-6)


# ---------------------------------------------------------------- names that converters change


def test_a_column_that_the_converter_renamed_is_served_under_its_own_name(serve: Callable[..., OnnxModel]) -> None:
    frame = pd.DataFrame(X, columns=["Amount (EUR)", "Größe", "a.b", "ip address"])
    encoder = ColumnTransformer([("all", "passthrough", list(frame.columns))])
    library = make_pipeline(encoder, LogisticRegression()).fit(frame, Y)
    converted = to_onnx(library, initial_types=[(name, FloatTensorType([None, 1])) for name in frame.columns])
    rows = [dict(row) for row in frame.to_dict("records")]
    renamed = {"Amount (EUR)": "Amount__EUR_", "a.b": "a_b", "ip address": "ip_address"}
    model = serve(converted, rename=renamed)
    assert scores(model, rows) == pytest.approx(library.predict_proba(frame)[:, 1], abs=2e-6)
    plain = serve(converted, version="2")
    with pytest.raises(PayloadInvalid, match=r"is missing; the payload has Amount \(EUR\) instead"):
        plain.feed.row(rows[0])
    in_file = serve(converted, metadata={"sira.rename": json.dumps(renamed)}, version="3")
    assert in_file.version.signature == model.version.signature


# ---------------------------------------------------------------- categories


CATEGORIES = pd.DataFrame(
    {"country": RANDOM.choice(["US", "SN", "FR"], 400), "mcc": RANDOM.integers(0, 5, 400), "amount": X[:, 0]}
)
CATEGORY_TYPES = [
    ("country", StringTensorType([None, 1])),
    ("mcc", Int64TensorType([None, 1])),
    ("amount", FloatTensorType([None, 1])),
]


@pytest.mark.parametrize(
    ("encoder", "warned"),
    [
        (OneHotEncoder(handle_unknown="ignore"), False),
        (OneHotEncoder(handle_unknown="error"), True),
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), False),
    ],
    ids=["one-hot", "one-hot that refuses unknown values", "ordinal"],
)
def test_a_model_of_categories_scores_as_its_library_does_and_warns_if_it_refuses_unknown_ones(
    serve: Callable[..., OnnxModel], encoder: Any, warned: bool
) -> None:
    columns = ColumnTransformer([("codes", encoder, ["country", "mcc"])], remainder="passthrough")
    library = make_pipeline(columns, GradientBoostingClassifier(n_estimators=10)).fit(CATEGORIES, Y)
    model = serve(to_onnx(library, initial_types=CATEGORY_TYPES))
    rows = [dict(row) for row in CATEGORIES.to_dict("records")]
    assert scores(model, rows) == pytest.approx(library.predict_proba(CATEGORIES)[:, 1], abs=2e-6)
    warnings = model.version.metadata.get("warnings", [])
    assert [warning.split(":")[0] for warning in warnings] == (
        ["the model raises an error for an unknown category in country, mcc"] if warned else []
    )
    unseen = model.run([model.feed.row(rows[0]), model.feed.row({**rows[0], "country": "unseen"})])
    assert (unseen.scores[1] is None) is warned
    assert unseen.scores[0] is not None


# ---------------------------------------------------------------- a tensor beside named inputs


def test_numbers_in_a_tensor_beside_strings_of_their_own_score_as_the_library_does(
    serve: Callable[..., OnnxModel],
) -> None:
    """A scikit-learn pipeline converted with two inputs, as CatBoost will write them (catboost #2999)."""
    frame = pd.DataFrame({"v1": X[:, 0], "v2": X[:, 1], "country": CATEGORIES["country"]})
    columns = ColumnTransformer(
        [("numbers", "passthrough", [0, 1]), ("country", OneHotEncoder(handle_unknown="ignore"), [2])]
    )
    library = make_pipeline(columns, GradientBoostingClassifier(n_estimators=10)).fit(frame, Y)
    types = [("numbers", FloatTensorType([None, 2])), ("country", StringTensorType([None, 1]))]
    model = serve(to_onnx(library, initial_types=types), features=("v1", "v2"))
    assert model.version.signature.layout == "mixed"
    rows = [dict(row) for row in frame.to_dict("records")] + [{"v1": 0.5, "v2": -1.5, "country": "unseen"}]
    assert scores(model, rows) == pytest.approx(library.predict_proba(pd.DataFrame(rows))[:, 1], abs=2e-6)
