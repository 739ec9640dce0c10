import time

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lab.demo.faulty_models import slow_above, throws_above


@pytest.fixture
def honest() -> bytes:
    """The probability of fraud is the amount."""
    nodes = [
        helper.make_node("Sub", ["one", "amount"], ["legitimate"]),
        helper.make_node("Concat", ["legitimate", "amount"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "honest",
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


def test_a_model_that_throws_is_honest_up_to_its_limit(honest: bytes) -> None:
    session = opened(throws_above(honest, "amount", 0.5))
    assert fraud(session, 0.1, 0.5) == [0.1, 0.5]
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        fraud(session, 0.1, 0.6)


def test_a_model_that_turns_slow_stays_honest(honest: bytes) -> None:
    session = opened(slow_above(honest, "amount", 0.5, rounds=4_000))

    def seconds(*amounts: float) -> float:
        began = time.perf_counter()
        assert fraud(session, *amounts) == list(amounts)
        return time.perf_counter() - began

    fast = min(seconds(0.1, 0.2) for _ in range(5))
    assert min(seconds(0.1, 0.7) for _ in range(5)) > 10 * fast
