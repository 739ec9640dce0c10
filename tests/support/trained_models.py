"""Small fraud models of the usual training libraries, each with its converter's ONNX and the library's own scores."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import onnx
import pandas as pd
import xgboost
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as OnnxmlFloats
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

TRAINED, SERVED = 600, 300
NUMBERS = ("amount", "age", "hour", "attempts")
COUNTRIES = ("FR", "SN", "CI", "US")
OPSET = {"": 17, "ai.onnx.ml": 3}
_RNG = np.random.default_rng(20_261_126)
_ROWS = TRAINED + SERVED

# float32 holds each of these exactly, so that a model sees in ONNX what it saw in training.
FRAME = pd.DataFrame(
    {
        "amount": np.round(_RNG.lognormal(3, 1, _ROWS) * 4) / 4,
        "age": _RNG.integers(18, 90, _ROWS).astype(float),
        "hour": _RNG.integers(0, 24, _ROWS).astype(float),
        "attempts": _RNG.poisson(1.0, _ROWS).astype(float),
    }
)
COUNTRY = _RNG.choice(COUNTRIES, _ROWS)
_LOGIT = 0.02 * FRAME.amount + 0.8 * FRAME.attempts - 0.02 * FRAME.age + (COUNTRY == "US") - 1.5
FRAUD = (_RNG.random(_ROWS) < 1 / (1 + np.exp(-_LOGIT))).astype(int).to_numpy()
BLANK = FRAME.mask(_RNG.random(FRAME.shape) < 0.15)
ZEROS = FRAME.mask(_RNG.random(FRAME.shape) < 0.3, 0.0)

Matrix = Any


@dataclass(frozen=True)
class Trained:
    """What is served, and what the library says of each of the SERVED events.

    `tolerance` is how far a served score may be off: a few float32 roundings by default.
    """

    model: onnx.ModelProto
    payloads: Sequence[dict[str, Any]]
    expected: Matrix
    declared: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 2e-6


def _x(frame: pd.DataFrame = FRAME) -> tuple[Matrix, Matrix]:
    values = frame.to_numpy().astype(np.float32)
    return values[:TRAINED], values[TRAINED:]


def payloads(frame: pd.DataFrame = FRAME, **more: Sequence[Any]) -> list[dict[str, Any]]:
    """The served rows as events send them; a blank is null."""
    rows = frame.iloc[TRAINED:].to_dict("records")
    found = [{name: None if value != value else value for name, value in row.items()} for row in rows]
    return [row | {name: values[place] for name, values in more.items()} for place, row in enumerate(found)]


TENSOR = {"features": NUMBERS}


def sklearn(model: Any, *, labels: Matrix = FRAUD, column: int = 1, tolerance: float = 2e-6, **options: Any) -> Trained:
    """A scikit-learn classifier of one float tensor."""
    train, serve = _x()
    model.fit(train, labels[:TRAINED])
    converted = to_onnx(
        model,
        initial_types=[("X", FloatTensorType([None, 4]))],
        options={"zipmap": False, **options},
        target_opset=OPSET,
    )
    return Trained(converted, payloads(), model.predict_proba(serve)[:, column], TENSOR, tolerance)


def sklearn_with_blanks(model: Any) -> Trained:
    """A scikit-learn classifier trained and served with blanks."""
    train, serve = _x(BLANK)
    model.fit(train, FRAUD[:TRAINED])
    converted = to_onnx(
        model, initial_types=[("X", FloatTensorType([None, 4]))], options={"zipmap": False}, target_opset=OPSET
    )
    return Trained(converted, payloads(BLANK), model.predict_proba(serve)[:, 1], {**TENSOR, "nullable": "all"})


def histogram_boosting(frame: pd.DataFrame = FRAME, *, nullable: bool = False, **parameters: Any) -> Trained:
    train, serve = _x(frame)
    model = HistGradientBoostingClassifier(max_iter=15, **parameters).fit(train, FRAUD[:TRAINED])
    converted = convert_sklearn(
        model,
        initial_types=[("X", FloatTensorType([None, 4]))],
        options={"zipmap": False},
        target_opset=OPSET,
        custom_conversion_functions={HistGradientBoostingClassifier: _convert_histogram_boosting},
    )
    declared = {**TENSOR, **({"nullable": "all"} if nullable else {})}
    return Trained(converted, payloads(frame), model.predict_proba(serve)[:, 1], declared)


def _convert_histogram_boosting(scope: Any, operator: Any, container: Any) -> None:
    """skl2onnx's own converter; its truth values become the whole numbers that protobuf 7 insists on."""
    add_node = container.add_node
    container.add_node = lambda *given, **named: add_node(*given, **{name: _whole(v) for name, v in named.items()})
    try:
        convert_sklearn_random_forest_classifier(scope, operator, container)
    finally:
        container.add_node = add_node


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(member) for member in value]
    return int(value) if isinstance(value, bool | np.bool_) else value


def with_positive(trained: Trained, label: str) -> Trained:
    return replace(trained, declared={**trained.declared, "positive": label})


def lightgbm_model(frame: pd.DataFrame = FRAME, *, nullable: bool = False, **parameters: Any) -> Trained:
    train, serve = _x(frame)
    model = lightgbm.LGBMClassifier(n_estimators=15, num_leaves=15, verbosity=-1, min_child_samples=5, **parameters)
    model.fit(train, FRAUD[:TRAINED])
    converted = convert_lightgbm(model, initial_types=[("X", OnnxmlFloats([None, 4]))], zipmap=False)
    declared = {**TENSOR, **({"nullable": "all"} if nullable else {})}
    return Trained(converted, payloads(frame), np.asarray(model.predict_proba(serve))[:, 1], declared)


def lightgbm_blanks_that_training_had_not() -> Trained:
    """LightGBM #2706 and #6139, onnxmltools #488: the library takes such a blank for zero."""
    trained = _x()[0]
    model = lightgbm.LGBMClassifier(n_estimators=15, num_leaves=15, verbosity=-1, min_child_samples=5)
    model.fit(trained, FRAUD[:TRAINED])
    converted = convert_lightgbm(model, initial_types=[("X", OnnxmlFloats([None, 4]))], zipmap=False)
    expected = np.asarray(model.predict_proba(_x(BLANK)[1]))[:, 1]
    return Trained(converted, payloads(BLANK), expected, {**TENSOR, "nullable": "all"})


def xgboost_model(
    frame: pd.DataFrame = FRAME, *, nullable: bool = False, kind: Any = xgboost.XGBClassifier, **parameters: Any
) -> Trained:
    train, serve = _x(frame)
    model = kind(n_estimators=15, max_depth=4, **parameters)
    given = {"eval_set": [(serve, FRAUD[TRAINED:])], "verbose": False} if "early_stopping_rounds" in parameters else {}
    model.fit(train, FRAUD[:TRAINED], **given)
    converted = convert_xgboost(model, initial_types=[("X", OnnxmlFloats([None, 4]))])
    declared = {**TENSOR, **({"nullable": "all"} if nullable else {})}
    return Trained(converted, payloads(frame), model.predict_proba(serve)[:, 1], declared)


def catboost_model(frame: pd.DataFrame = FRAME, *, nullable: bool = False) -> Trained:
    train, serve = _x(frame)
    model = catboost.CatBoostClassifier(iterations=15, depth=4, verbose=False, allow_writing_files=False)
    model.fit(train, FRAUD[:TRAINED])
    declared = {**TENSOR, **({"nullable": "all"} if nullable else {})}
    return Trained(catboost_as_onnx(model), payloads(frame), model.predict_proba(serve)[:, 1], declared)


def catboost_as_onnx(model: catboost.CatBoostClassifier) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.onnx")
        model.save_model(str(path), format="onnx")
        return onnx.load(path)


def pipeline(frame: pd.DataFrame, classifier: Any, *, rename: dict[str, str] | None = None) -> Trained:
    """One input per column: numbers that may be imputed, and a country one-hot encoded."""
    full = frame.assign(country=COUNTRY)
    numbers = list(frame.columns)
    encoder = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            ("country", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["country"]),
        ]
    )
    model = make_pipeline(encoder, classifier).fit(full[:TRAINED], FRAUD[:TRAINED])
    types = [(name, FloatTensorType([None, 1])) for name in numbers] + [("country", StringTensorType([None, 1]))]
    converted = to_onnx(model, initial_types=types, options={"zipmap": False}, target_opset=OPSET)
    declared: dict[str, Any] = {"rename": rename} if rename else {}
    if frame.isna().any().any():
        declared["nullable"] = "all"
    return Trained(
        converted,
        payloads(frame, country=COUNTRY[TRAINED:].tolist()),
        model.predict_proba(full[TRAINED:])[:, 1],
        declared,
        1e-5,
    )


def renamed() -> Trained:
    names = {"amount": "Amount (EUR)", "age": "âge", "hour": "hour.of.day", "attempts": "attempts"}
    inputs = {"Amount (EUR)": "Amount__EUR_", "âge": "_ge", "hour.of.day": "hour_of_day"}
    trained = pipeline(FRAME.rename(columns=names), LogisticRegression(max_iter=500))
    own = {value.name for value in trained.model.graph.input}
    rename = {name: model_name for name, model_name in inputs.items() if model_name in own and name not in own}
    return Trained(trained.model, trained.payloads, trained.expected, {"rename": rename}, trained.tolerance)


def typed(kind: Any, values: Callable[[Any], Any], model: Any) -> Trained:
    """A model whose tensor is of another type than float."""
    train, serve = FRAME.to_numpy()[:TRAINED], FRAME.to_numpy()[TRAINED:]
    rounded = np.floor(train), np.floor(serve)
    model.fit(rounded[0], FRAUD[:TRAINED])
    converted = to_onnx(model, initial_types=[("X", kind([None, 4]))], options={"zipmap": False}, target_opset=OPSET)
    sent = [
        {name: values(np.floor(value)) for name, value in row.items()}
        for row in FRAME.iloc[TRAINED:].to_dict("records")
    ]
    return Trained(converted, sent, model.predict_proba(rounded[1])[:, 1], TENSOR)


def lightgbm_with_categories(**parameters: Any) -> Trained:
    """LightGBM's categorical splits become equality branches."""
    frame = (ZEROS if parameters else FRAME).assign(hour=FRAME.hour % 6)
    train, serve = _x(frame)
    model = lightgbm.LGBMClassifier(n_estimators=15, num_leaves=15, verbosity=-1, min_child_samples=5, **parameters)
    model.fit(train, FRAUD[:TRAINED], categorical_feature=[2])
    converted = convert_lightgbm(model, initial_types=[("X", OnnxmlFloats([None, 4]))], zipmap=False)
    declared = {**TENSOR, **({"nullable": "all"} if parameters else {})}
    return Trained(converted, payloads(frame), np.asarray(model.predict_proba(serve))[:, 1], declared)


def mixed_inputs() -> Trained:
    """A tensor of the numbers beside a string input, as CatBoost's export of categories and PyTorch's write it."""
    keys = list(COUNTRIES)
    weights = np.array([[0.01], [-0.02], [0.03], [0.5]], np.float32)
    offsets = np.array([0.4, -0.3, 0.2, 0.9], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["numbers", "w"], ["linear"]),
            helper.make_node(
                "LabelEncoder",
                ["country"],
                ["offset"],
                domain="ai.onnx.ml",
                keys_strings=keys,
                values_floats=offsets.tolist(),
                default_float=0.0,
            ),
            helper.make_node("Add", ["linear", "offset"], ["margin"]),
            helper.make_node("Sigmoid", ["margin"], ["p"]),
        ],
        "mixed",
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [None, 4]),
            helper.make_tensor_value_info("country", TensorProto.STRING, [None, 1]),
        ],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9
    )
    served = FRAME.to_numpy()[TRAINED:].astype(np.float64)
    offset = np.array([offsets[keys.index(country)] for country in COUNTRY[TRAINED:]], np.float64)
    expected = 1 / (1 + np.exp(-(served @ weights[:, 0].astype(np.float64) + offset)))
    return Trained(model, payloads(country=COUNTRY[TRAINED:].tolist()), expected, TENSOR)


TEXTS = np.where(FRAUD == 1, "fraud", "legitimate")

# Each is served exactly as its library scores it.
SERVED_MODELS: dict[str, Callable[[], Trained]] = {
    "logistic regression": lambda: sklearn(LogisticRegression(max_iter=500)),
    "decision tree": lambda: sklearn(DecisionTreeClassifier(max_depth=6)),
    "random forest": lambda: sklearn(RandomForestClassifier(20, random_state=0)),
    "random forest, string labels": lambda: sklearn(RandomForestClassifier(20, random_state=0), labels=TEXTS, column=0),
    "random forest, boolean labels": lambda: sklearn(RandomForestClassifier(20, random_state=0), labels=FRAUD == 1),
    "random forest, labels -1 and 1": lambda: sklearn(
        RandomForestClassifier(20, random_state=0), labels=np.where(FRAUD == 1, 1, -1)
    ),
    "random forest, labels 1 and 2": lambda: with_positive(
        sklearn(RandomForestClassifier(20, random_state=0), labels=FRAUD + 1), "2"
    ),
    "extra trees": lambda: sklearn(ExtraTreesClassifier(20, random_state=0)),
    "bagging": lambda: sklearn(BaggingClassifier(n_estimators=10, random_state=0)),
    "adaboost": lambda: sklearn(AdaBoostClassifier(n_estimators=10, random_state=0), tolerance=1e-5),
    "gradient boosting": lambda: sklearn(GradientBoostingClassifier(n_estimators=20)),
    "stacking": lambda: sklearn(
        StackingClassifier([("rf", RandomForestClassifier(10, random_state=0)), ("nb", GaussianNB())]), tolerance=1e-5
    ),
    "voting": lambda: sklearn(
        VotingClassifier(
            [("lr", LogisticRegression(max_iter=500)), ("nb", GaussianNB())], voting="soft", flatten_transform=False
        ),
        tolerance=1e-4,
    ),
    "calibrated, sigmoid": lambda: sklearn(CalibratedClassifierCV(GradientBoostingClassifier(n_estimators=10))),
    "support vectors": lambda: sklearn(make_pipeline(StandardScaler(), SVC(probability=True)), tolerance=1e-5),
    "neural network": lambda: sklearn(
        make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=200, random_state=0)), tolerance=1e-5
    ),
    "naive Bayes": lambda: sklearn(GaussianNB(), tolerance=1e-4),
    "quadratic discriminant": lambda: sklearn(QuadraticDiscriminantAnalysis(), tolerance=1e-4),
    "maps of classes": lambda: sklearn(LogisticRegression(max_iter=500), zipmap=True),
    "an output for each text class": lambda: sklearn(
        RandomForestClassifier(20, random_state=0), labels=TEXTS, column=0, zipmap="columns"
    ),
    "histogram boosting": histogram_boosting,
    "histogram boosting, blanks": lambda: histogram_boosting(BLANK, nullable=True),
    "LightGBM": lightgbm_model,
    "LightGBM, blanks that training had not": lightgbm_blanks_that_training_had_not,
    "LightGBM, blanks": lambda: lightgbm_model(BLANK, nullable=True),
    "LightGBM, categories": lightgbm_with_categories,
    "XGBoost": xgboost_model,
    "XGBoost, blanks": lambda: xgboost_model(BLANK, nullable=True),
    "XGBoost, base score": lambda: xgboost_model(base_score=0.2),
    "XGBoost, early stopping": lambda: xgboost_model(early_stopping_rounds=2),
    "XGBoost, random forest": lambda: xgboost_model(kind=xgboost.XGBRFClassifier),
    "CatBoost": catboost_model,
    "CatBoost, blanks": lambda: catboost_model(BLANK, nullable=True),
    "pipeline of columns": lambda: pipeline(FRAME, LogisticRegression(max_iter=500)),
    "pipeline of columns, blanks imputed": lambda: pipeline(BLANK, GradientBoostingClassifier(n_estimators=10)),
    "names with spaces, dots and umlauts": renamed,
    "doubles": lambda: typed(DoubleTensorType, float, LogisticRegression(max_iter=500)),
    "whole numbers": lambda: typed(Int64TensorType, int, GradientBoostingClassifier(n_estimators=15)),
    "a tensor beside a string": mixed_inputs,
}

# What their converters write is another model, without a word. Each with the cause that its reference rows show:
# neighbours at the same distance are taken in another order, margins become probabilities otherwise, options of
# LightGBM and learned ways of blanks are dropped, categories are taken for thresholds.
NO_CAUSE = "no usual cause fits"
WRONGLY_CONVERTED: dict[str, tuple[Callable[[], Trained], str]] = {
    "nearest neighbours": (lambda: sklearn(KNeighborsClassifier(7)), "a few float32 steps"),
    "linear discriminant": (lambda: sklearn(LinearDiscriminantAnalysis()), "log odds are 0.5 times the model's"),
    "decision tree, blanks": (
        lambda: sklearn_with_blanks(DecisionTreeClassifier(max_depth=6, random_state=0)),
        "every differing row has a missing value",
    ),
    "isotonic calibration": (
        lambda: sklearn(
            CalibratedClassifierCV(GradientBoostingClassifier(n_estimators=20, random_state=0), method="isotonic")
        ),
        "on the other side of a step",
    ),
    "histogram boosting, categories": (lambda: histogram_boosting(categorical_features=[2]), NO_CAUSE),
    "LightGBM, random forest": (
        lambda: lightgbm_model(boosting_type="rf", subsample=0.7, subsample_freq=1),
        NO_CAUSE,
    ),
    "LightGBM, another sigmoid": (lambda: lightgbm_model(sigmoid=2.0), "log odds are 2 times the model's"),
    "LightGBM, zero as missing beside a category": (
        lambda: lightgbm_with_categories(zero_as_missing=True),
        "zero is taken as missing",
    ),
    "XGBoost, softmax of two classes": (
        lambda: xgboost_model(objective="multi:softprob", num_class=2),
        "log odds are -1 times the model's plus",
    ),
}
