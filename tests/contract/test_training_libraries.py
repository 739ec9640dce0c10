"""Every usual library's model, registered, served and asked over HTTP: the scores are the library's own.

Where a model cannot be served as it was trained, registration says why.
"""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType as OnnxmlFloats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, IsolationForest
from sklearn.svm import OneClassSVM

from lab.postgres import LocalPostgres
from registry.artifacts import open_store
from registry.inspection.parent import ReferenceRequest
from registry.model_version import Status
from registry.registration import Declaration, RegistrationRefused, register
from registry.store import change_status
from runtime.postgres import Connection, connect
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import serving
from tests.support.trained_models import (
    FRAME,
    FRAUD,
    NUMBERS,
    OPSET,
    SERVED,
    SERVED_MODELS,
    TRAINED,
    WRONGLY_CONVERTED,
    Trained,
    payloads,
    typed,
)

Ask = Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]]
PRODUCTS = {name: f"library_{place}" for place, name in enumerate(SERVED_MODELS)}
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def add(connection: Connection, folder: Path, product: str, trained: Trained, **options: Any) -> str:
    """The model_id of a model registered in a product of its own."""
    path = folder / f"{product}.onnx"
    path.write_bytes(trained.model.SerializeToString())
    declaration = Declaration(product, "m", "1", **{"review": 0.5, "block": 0.9, **trained.declared})
    store = open_store((folder / "artifacts").as_uri())
    return register(connection, store, path, declaration, actor="tests", **options).version.model_id


@pytest.fixture(scope="module")
def trained() -> dict[str, Trained]:
    return {name: train() for name, train in SERVED_MODELS.items()}


@pytest.fixture(scope="module")
def ask(
    postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory, trained: dict[str, Trained]
) -> Iterator[Ask]:
    """A service that has every model in production; `ask(product, payloads)` gives one result per payload."""
    folder = tmp_path_factory.mktemp("libraries")
    url = postgres.create_database("training_libraries", template="sira_template")
    with connect(url, name="tests", autocommit=True) as connection:
        for name, product in PRODUCTS.items():
            model_id = add(connection, folder, product, trained[name])
            with connection.transaction():
                change_status(connection, model_id, Status.PRODUCTION, actor="tests")
    with serving(folder, url, workers=1) as service:

        def send(product: str, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
            events = [
                {"event_id": f"{product}-{place}", "product": product, "payload": payload}
                for place, payload in enumerate(given)
            ]
            request = urllib.request.Request(
                f"http://127.0.0.1:{service.port}/v1/infer/batch",
                json.dumps({"events": events}).encode(),
                {"Authorization": f"Bearer {SERVICE_TOKEN}"},
            )
            with _OPENER.open(request, timeout=60) as response:
                results: list[dict[str, Any]] = json.loads(response.read())["results"]
            return results

        yield send
    postgres.drop_database("training_libraries")


@pytest.mark.parametrize("name", SERVED_MODELS)
def test_what_is_served_is_what_the_library_says(ask: Ask, trained: dict[str, Trained], name: str) -> None:
    model = trained[name]
    results = ask(PRODUCTS[name], list(model.payloads))
    failed = [result["error"] for result in results if "error" in result]
    assert not failed, failed[0]
    served = np.array([result["answer"]["score"] for result in results])
    assert len(served) == SERVED
    assert np.abs(served - model.expected).max() <= model.tolerance
    assert ((served >= 0) & (served <= 1)).all()


def test_a_null_that_a_tree_model_could_take_says_how_to_allow_it(ask: Ask) -> None:
    (result,) = ask(PRODUCTS["XGBoost"], [{**payloads()[0], "age": None}])
    assert "--nullable age" in result["error"]["errors"][0]["detail"]


def test_a_missing_field_names_the_closest_that_was_sent(ask: Ask) -> None:
    sent = {("Age " if name == "age" else name): value for name, value in payloads()[0].items()}
    (result,) = ask(PRODUCTS["XGBoost"], [sent])
    assert "Age " in result["error"]["errors"][0]["detail"]


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def refusal(database_url: str, tmp_path: Path) -> Callable[..., str]:
    """Why a model is not registered."""

    def why(trained: Trained, **options: Any) -> str:
        with (
            connect(database_url, name="tests", autocommit=True) as connection,
            pytest.raises(RegistrationRefused) as refused,
        ):
            add(connection, tmp_path, "refused", trained, **options)
        return str(refused.value)

    return why


def reference(folder: Path, trained: Trained) -> ReferenceRequest:
    path = folder / "rows.jsonl"
    rows = [{**p, "score": float(s)} for p, s in zip(trained.payloads, trained.expected, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return ReferenceRequest(str(path))


@pytest.mark.parametrize("detector", [IsolationForest(n_estimators=20, random_state=0), OneClassSVM()])
def test_an_outlier_detector_is_refused_as_an_anomaly_score(refusal: Callable[..., str], detector: Any) -> None:
    detector.fit(FRAME.to_numpy()[:TRAINED].astype(np.float32))
    model = to_onnx(detector, initial_types=[("X", FloatTensorType([None, 4]))], target_opset=OPSET)
    assert "anomaly score" in refusal(Trained(model, [], [], {"features": NUMBERS}))


def graph(*nodes: onnx.NodeProto) -> Trained:
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("amount", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 1])],
    )
    return Trained(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), [], [])


def test_a_raw_margin_is_refused_with_the_advice_to_add_a_sigmoid(refusal: Callable[..., str]) -> None:
    constant = helper.make_node(
        "Constant", [], ["w"], value=helper.make_tensor("w", TensorProto.FLOAT, [1, 1], [0.001])
    )
    assert "add a Sigmoid" in refusal(graph(constant, helper.make_node("MatMul", ["amount", "w"], ["p"])))


def test_a_random_graph_is_refused_for_its_randomness(refusal: Callable[..., str]) -> None:
    reason = refusal(graph(helper.make_node("RandomUniformLike", ["amount"], ["p"])))
    assert "random" in reason.lower()
    assert "depend on each other" not in reason


@pytest.mark.parametrize("width", [2_049, 4_096])
def test_more_fields_than_a_payload_may_have_are_refused(refusal: Callable[..., str], width: int) -> None:
    made = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["X"], ["m"], axes=[1], keepdims=1),
            helper.make_node("Sigmoid", ["m"], ["p"]),
        ],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 1])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    names = {"features": tuple(f"f{place}" for place in range(width))}
    assert "2048" in refusal(Trained(model, [], [], names)).replace(",", "")


@pytest.mark.parametrize("name", WRONGLY_CONVERTED)
def test_a_model_that_its_converter_changed_is_refused_by_reference_rows(
    refusal: Callable[..., str], tmp_path: Path, name: str
) -> None:
    train, cause = WRONGLY_CONVERTED[name]
    trained = train()
    reason = refusal(trained, reference=reference(tmp_path, trained))
    assert "reference rows differ" in reason
    assert cause in reason


def test_zero_as_missing_that_its_converter_drops_is_refused_by_reference_rows(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    frame = FRAME.mask(np.random.default_rng(1).random(FRAME.shape) < 0.3, 0.0)
    train, serve = frame.to_numpy()[:TRAINED], frame.to_numpy()[TRAINED:]
    booster = lightgbm.train(
        {"objective": "binary", "zero_as_missing": True, "verbosity": -1, "min_data_in_leaf": 5},
        lightgbm.Dataset(train, FRAUD[:TRAINED]),
        15,
    )
    model = convert_lightgbm(booster, initial_types=[("X", OnnxmlFloats([None, 4]))], zipmap=False)
    lost = Trained(model, payloads(frame), booster.predict(serve), {"features": NUMBERS, "nullable": "all"})
    assert "zero is taken as missing" in refusal(lost, reference=reference(tmp_path, lost))


def test_the_converter_of_trees_over_doubles_writes_what_onnxruntime_does_not_load(
    refusal: Callable[..., str],
) -> None:
    trained = typed(DoubleTensorType, float, GradientBoostingClassifier(n_estimators=3))
    assert "onnxruntime does not load it" in refusal(trained)


def test_the_converter_of_histogram_boosting_fails_by_itself() -> None:
    model = HistGradientBoostingClassifier(max_iter=3).fit(FRAME.to_numpy(), FRAUD)
    with pytest.raises(ValueError, match="TreeEnsembleClassifier") as failed:
        to_onnx(model, initial_types=[("X", FloatTensorType([None, 4]))], target_opset=OPSET)
    assert "Expected an int, got a boolean" in str(failed.value.__cause__)
