"""Players are payload fields: a field's value is not the sum of its columns' values."""

from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from scoring.reasons.explainer import Explainer
from tests.support.brute_force import shapley
from tests.support.explained_models import Opened, open_model

COUNTRIES = ("CI", "FR", "SN", "US")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Countries one-hot encoded into a model whose trees split on several of them."""
    rng = np.random.default_rng(20_261_129)
    frame = pd.DataFrame({"amount": rng.lognormal(3, 1, 400).astype(np.float32), "country": rng.choice(COUNTRIES, 400)})
    fraud = (frame.amount > 20) & frame.country.isin(["FR", "US"]) | (frame.country == "CI") & (frame.amount < 10)
    encoder = ColumnTransformer([("country", OneHotEncoder(), ["country"])], remainder="passthrough")
    model = make_pipeline(encoder, GradientBoostingClassifier(n_estimators=30, max_depth=4)).fit(
        frame, fraud.astype(int)
    )
    types = [("amount", FloatTensorType([None, 1])), ("country", StringTensorType([None, 1]))]
    converted = to_onnx(model, initial_types=types, options={"zipmap": False})
    payloads = [{"amount": float(a), "country": c} for a, c in zip(frame.amount, frame.country, strict=True)]
    return open_model(converted, tmp_path_factory.mktemp("groups"), payloads)


def sum_of_columns(opened: Opened, folder: Path, event: int, background: int) -> float:
    """Add up the one-hot columns' own Shapley values, as explainers of columns do."""
    graph = opened.model.graph
    ensemble = next(node for node in graph.node if node.op_type == "TreeEnsembleClassifier")
    columns = onnx.ModelProto()
    columns.CopyFrom(opened.model)
    del columns.graph.node[:], columns.graph.input[:]
    columns.graph.node.extend(node for node in graph.node if ensemble.output[1] in node.input or node == ensemble)
    columns.graph.input.append(onnx.helper.make_tensor_value_info(ensemble.input[0], onnx.TensorProto.FLOAT, ["n", 5]))
    rows = [
        {**{c: float(country == c) for c in COUNTRIES}, "amount": amount}
        for amount, country in opened.rows[: event + 1]
    ]
    names = (*COUNTRIES, "amount")
    flat = open_model(columns, folder, rows, features=names)
    values = flat.explainer(flat.rows[:background]).explain(flat.rows[event : event + 1], [""]).values[0]
    return float(values[:4].sum())


def test_the_value_of_a_one_hot_field_is_not_the_sum_of_its_columns(opened: Opened, tmp_path: Path) -> None:
    event, background = 30, 16
    explainer: Explainer = opened.explainer(opened.rows[:background])
    of_field = explainer.explain(opened.rows[event : event + 1], [""]).values[0][1]
    _, expected = shapley(opened.margins("log_odds"), opened.rows[event], opened.rows[:background])
    of_columns = sum_of_columns(opened, tmp_path, event, background)
    assert explainer.method == "exact"
    assert of_field == pytest.approx(expected[1], abs=1e-6)
    assert abs(of_columns - expected[1]) > 1e-3
