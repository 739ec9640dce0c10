import json
import struct

import msgspec
import numpy as np
import pytest

from edge.open_inference.tensors import (
    InferenceRequest,
    OutputTensor,
    RequestedOutput,
    TensorsInvalid,
    read_request,
    write_outputs,
)


def request(*inputs: dict[str, object], **more: object) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def values(body: bytes, header_length: int | None = None) -> list[object]:
    return read_request(body, header_length)[1][0].values


@pytest.mark.parametrize(("data", "shape"), [(["a", "b"], [2]), ([["a"], ["b"]], [2, 1]), (["a", "b"], [2, 1])])
def test_bytes_may_be_flat_or_nested(data: list[object], shape: list[int]) -> None:
    assert values(request({"name": "c", "shape": shape, "datatype": "BYTES", "data": data})) == ["a", "b"]


def test_null_is_a_missing_value() -> None:
    assert values(request({"name": "c", "shape": [2], "datatype": "FP64", "data": [None, 1]})) == [None, 1.0]


def test_a_whole_number_of_a_floating_tensor_is_a_float() -> None:
    (value,) = values(request({"name": "c", "shape": [1], "datatype": "FP32", "data": [3]}))
    assert isinstance(value, float)


def test_columns_are_read_in_row_major_order() -> None:
    _, (tensor,) = read_request(
        request({"name": "t", "shape": [2, 3], "datatype": "INT32", "data": [[1, 2, 3], [4, 5, 6]]}), None
    )
    assert [tensor.column(place) for place in range(3)] == [[1, 4], [2, 5], [3, 6]]


@pytest.mark.parametrize("datatype", ["INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64"])
def test_an_integer_beyond_its_datatype_is_refused(datatype: str) -> None:
    with pytest.raises(TensorsInvalid, match=f"must hold {datatype}"):
        values(request({"name": "c", "shape": [1], "datatype": datatype, "data": [1 << 64]}))


@pytest.mark.parametrize(
    ("datatype", "value"), [("BOOL", 1), ("INT32", True), ("INT32", 1.0), ("FP32", "1"), ("BYTES", 1), ("FP32", True)]
)
def test_a_value_of_another_type_is_refused_without_being_quoted(datatype: str, value: object) -> None:
    with pytest.raises(TensorsInvalid) as refused:
        values(request({"name": "c", "shape": [1], "datatype": datatype, "data": [value]}))
    assert refused.value.faults == (f"input c: data must hold {datatype} values, or null for a missing value",)


def binary(*parts: tuple[str, str, list[int], bytes]) -> tuple[bytes, int]:
    """A request in the binary tensor extension, and the length of its JSON head."""
    inputs = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        for name, datatype, shape, raw in parts
    ]
    head = request(*inputs)
    return head + b"".join(raw for *_, raw in parts), len(head)


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8"), ("INT8", "<i1"), ("UINT64", "<u8"), ("BOOL", "?")],
)
def test_binary_elements_are_little_endian(datatype: str, dtype: str) -> None:
    raw = np.array([0, 1, 1], dtype=dtype).tobytes()
    assert values(*binary(("c", datatype, [3], raw))) == [0, 1, 1]


def test_a_binary_nan_is_a_missing_value() -> None:
    raw = np.array([np.nan, 2.5], dtype="<f4").tobytes()
    assert values(*binary(("c", "FP32", [2, 1], raw))) == [None, 2.5]


def test_binary_inputs_follow_each_other_in_order() -> None:
    texts = b"".join(struct.pack("<I", len(part)) + part for part in (b"EUR", "é".encode()))
    body, length = binary(("n", "INT64", [2], np.array([7, 8], "<i8").tobytes()), ("t", "BYTES", [2], texts))
    _, tensors = read_request(body, length)
    assert [tensor.values for tensor in tensors] == [[7, 8], ["EUR", "é"]]


@pytest.mark.parametrize("raw", [b"\x05", b"\x05\0\0\0ab", b"\x01\0\0\0\xff"])
def test_a_broken_bytes_element_is_refused(raw: bytes) -> None:
    with pytest.raises(TensorsInvalid, match="a BYTES element"):
        values(*binary(("t", "BYTES", [1], raw)))


def test_every_fault_is_named_at_once() -> None:
    body = request(
        {"name": "a", "shape": [1, 1, 1], "datatype": "FP128", "data": [1]},
        {"name": "b", "shape": [2], "datatype": "FP32", "data": [1]},
        {"name": "c", "shape": [1], "datatype": "FP32"},
        {"name": "d", "shape": [1001], "datatype": "FP32", "data": [1]},
    )
    with pytest.raises(TensorsInvalid) as refused:
        read_request(body, None)
    assert [fault.split(":")[0][-1] for fault in refused.value.faults] == ["a", "a", "b", "c", "d"]


@pytest.mark.parametrize("length", [0, -1, 10_000])
def test_a_head_that_is_not_within_the_body_is_refused(length: int) -> None:
    body, _ = binary(("c", "BOOL", [1], b"\1"))
    with pytest.raises(TensorsInvalid, match="Inference-Header-Content-Length"):
        read_request(body, length)


def test_bytes_that_no_input_claims_are_refused() -> None:
    body, length = binary(("c", "BOOL", [1], b"\1"))
    with pytest.raises(TensorsInvalid, match="1 bytes after"):
        read_request(body + b"\0", length)


OUTPUTS = (OutputTensor("score", "FP64", [0.25, 0.5]), OutputTensor("decision", "BYTES", ["allow", "block"]))


def test_an_answer_is_json_unless_binary_is_asked_for() -> None:
    described, tail = write_outputs(OUTPUTS, InferenceRequest([]))
    assert tail == b""
    assert json.loads(msgspec.json.encode(described)) == [
        {"name": "score", "datatype": "FP64", "shape": [2], "data": [0.25, 0.5]},
        {"name": "decision", "datatype": "BYTES", "shape": [2], "data": ["allow", "block"]},
    ]


def test_one_output_can_be_asked_for_in_binary_form() -> None:
    asked = InferenceRequest([], outputs=[RequestedOutput("score", {"binary_data": True})])
    (score,), tail = write_outputs(OUTPUTS, asked)
    assert score.parameters is not None
    assert (score.parameters.binary_data_size, score.data) == (16, None)
    assert np.frombuffer(tail, "<f8").tolist() == [0.25, 0.5]


def test_binary_data_output_holds_for_every_output() -> None:
    _, tail = write_outputs(OUTPUTS, InferenceRequest([], parameters={"binary_data_output": True}))
    assert tail == np.array([0.25, 0.5]).tobytes() + b"\x05\0\0\0allow\x05\0\0\0block"
