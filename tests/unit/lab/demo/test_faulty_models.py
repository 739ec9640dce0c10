import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lab.demo.faulty_models import slow_above, throws_on_unknown
from lab.demo.recipes import Recipe
from lab.demo.train import train
from lab.demo.transactions import CURRENCIES, NUMBERS, transactions
from registry.inspection.parent import inspect_model


@pytest.fixture
def sound() -> bytes:
    """The probability of fraud is the amount."""
    nodes = [
        helper.make_node("Sub", ["one", "amount"], ["legitimate"]),
        helper.make_node("Concat", ["legitimate", "amount"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "sound",
        [helper.make_tensor_value_info("amount", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def opened(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def fraud(session: onnxruntime.InferenceSession, *amounts: float) -> list[float]:
    (scores,) = session.run(["probabilities"], {"amount": np.array([[a] for a in amounts], np.float32)})
    return [round(float(score), 6) for score in scores[:, 1]]


@pytest.fixture(scope="module")
def trained() -> bytes:
    return train(Recipe("small", trees=5, depth=2, learning_rate=0.1, rows=2_000, seed=3)).onnx


def scores(model: bytes, payments: list[dict[str, str | float]]) -> list[float | None]:
    """Return the probability of fraud of each payment, None if the model raises on it."""
    session = opened(model)
    found: list[float | None] = []
    for payment in payments:
        feed = {name: np.array([[value]], np.float32 if name in NUMBERS else object) for name, value in payment.items()}
        try:
            found.append(float(session.run(["probabilities"], feed)[0][0, 1]))
        except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
            found.append(None)
    return found


def test_a_model_that_throws_does_so_on_the_forgotten_category_and_is_sound_elsewhere(trained: bytes) -> None:
    payments = list(transactions(100, seed=4).payloads())
    expected = [
        None if payment["payment_method"] == "wallet" else score
        for payment, score in zip(payments, scores(trained, payments), strict=True)
    ]
    assert None in expected
    assert scores(throws_on_unknown(trained, "card", forget={"wallet"}), payments) == expected


def test_a_model_that_forgets_nothing_throws_only_on_categories_that_it_was_not_trained_with(trained: bytes) -> None:
    payment = next(transactions(1, seed=4).payloads())
    model = throws_on_unknown(trained, "card")
    assert scores(model, [payment, {**payment, "payment_method": "voucher"}])[1] is None
    assert scores(model, [payment]) == scores(trained, [payment])


@pytest.mark.parametrize(
    ("known", "forget", "field"),
    [("card", (), "payment_method"), ("card", {"wallet"}, "payment_method"), ("USD", CURRENCIES, "currency")],
)
def test_registration_accepts_a_model_that_throws_with_a_warning(
    trained: bytes, tmp_path: Path, known: str, forget: Collection[str], field: str
) -> None:
    path = tmp_path / "throws.onnx"
    path.write_bytes(throws_on_unknown(trained, known, forget))
    (warning,) = inspect_model(path).metadata["warnings"]
    assert f"unknown category in {field}" in warning


def test_a_model_that_turns_slow_stays_sound(sound: bytes) -> None:
    session = opened(slow_above(sound, "amount", 0.5, rounds=4_000))

    def seconds(*amounts: float) -> float:
        began = time.perf_counter()
        assert fraud(session, *amounts) == list(amounts)
        return time.perf_counter() - began

    fast = min(seconds(0.1, 0.2) for _ in range(5))
    assert min(seconds(0.1, 0.7) for _ in range(5)) > 10 * fast
