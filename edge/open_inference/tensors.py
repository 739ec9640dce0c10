"""Tensors of the Open Inference Protocol v2, as JSON and in the binary tensor extension.

Sources: the protocol's Predict Protocol - Version 2 (inference_rest.md of open-inference-protocol) and the binary
tensor data extension (extension_binary_data.md), in which a body is a JSON head of `Inference-Header-Content-Length`
bytes followed by the tensors' bytes in the order of the inputs.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

MAX_ROWS = 1_000
MAX_COLUMNS = 4_096

Element = str | int | float | bool | None

_DTYPES: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_FLOATING = frozenset({"FP16", "FP32", "FP64"})
DATATYPES = (*_DTYPES, "BYTES")


class TensorsInvalid(Exception):
    """Every fault of a request's tensors at once."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class InputTensor(msgspec.Struct, frozen=True):
    """One input of a request; `data` is absent when its bytes follow the JSON head."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class RequestedOutput(msgspec.Struct, frozen=True):
    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(msgspec.Struct, frozen=True):
    """The JSON part of `POST /v2/models/{product}/infer`."""

    inputs: list[InputTensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[RequestedOutput] = []


class Tensor(msgspec.Struct, frozen=True):
    """A decoded input: `values` in row-major order, `rows` times `columns` of them."""

    name: str
    rows: int
    columns: int
    values: list[Element]

    def column(self, place: int) -> list[Element]:
        return self.values[place :: self.columns]


_decode = msgspec.json.Decoder(InferenceRequest).decode


def read_request(body: bytes, header_length: int | None) -> tuple[InferenceRequest, list[Tensor]]:
    """Return a request and its decoded inputs. `header_length` is the JSON head's size in bytes, None when all is JSON.

    Raises TensorsInvalid, which never quotes a value.
    """
    if header_length is not None and not 0 < header_length <= len(body):
        raise TensorsInvalid([f"Inference-Header-Content-Length is {header_length}, of a body of {len(body)} bytes"])
    head = body if header_length is None else body[:header_length]
    try:
        request = _decode(head)
    except msgspec.ValidationError as invalid:
        raise TensorsInvalid([str(invalid)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TensorsInvalid(["the body is not JSON"]) from None
    tail = memoryview(b"" if header_length is None else body)[header_length or 0 :]
    faults: list[str] = []
    tensors = []
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        raw: memoryview | None = None
        if size is not None:
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(tail):
                faults.append(f"input {tensor.name}: binary_data_size does not fit the body")
                continue
            raw, tail = tail[:size], tail[size:]
        try:
            tensors.append(_tensor(tensor, raw))
        except TensorsInvalid as invalid:
            faults += [f"input {tensor.name}: {fault}" for fault in invalid.faults]
    if not request.inputs:
        faults.append("inputs: at least one tensor is needed")
    elif not faults and len(tail):
        faults.append(f"{len(tail)} bytes after the last input's data")
    if faults:
        raise TensorsInvalid(faults)
    return request, tensors


def _tensor(tensor: InputTensor, raw: memoryview | None) -> Tensor:
    faults = []
    if tensor.datatype not in DATATYPES:
        faults.append(f"datatype must be one of {', '.join(DATATYPES)}")
    if not 1 <= len(tensor.shape) <= 2 or any(size < 1 for size in tensor.shape):
        faults.append("shape must be [rows] or [rows, columns], neither of them 0")
    elif tensor.shape[0] > MAX_ROWS or (len(tensor.shape) == 2 and tensor.shape[1] > MAX_COLUMNS):
        faults.append(f"shape must be at most {MAX_ROWS} rows of {MAX_COLUMNS} columns")
    if (raw is None) == (tensor.data is None):
        faults.append("give either data or parameters.binary_data_size")
    if faults:
        raise TensorsInvalid(faults)
    rows, columns = tensor.shape[0], tensor.shape[1] if len(tensor.shape) == 2 else 1
    values = _from_json(tensor.datatype, tensor.data) if tensor.data is not None else _from_bytes(tensor.datatype, raw)
    if len(values) != rows * columns:
        raise TensorsInvalid([f"shape needs {rows * columns} elements, data has {len(values)}"])
    return Tensor(tensor.name, rows, columns, values)


def _from_json(datatype: str, data: list[Any]) -> list[Element]:
    """Flat or nested to any depth of two; null is a missing value, whatever the datatype."""
    values = [value for part in data for value in (part if isinstance(part, list) else (part,))]
    if not all(value is None or _is_of(datatype, value) for value in values):
        raise TensorsInvalid([f"data must hold {datatype} values, or null for a missing value"])
    if datatype in _FLOATING:
        return [value if value is None else float(value) for value in values]
    return values


def _is_of(datatype: str, value: object) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str)
    if datatype == "BOOL":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if datatype in _FLOATING:
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 1000)
    if not isinstance(value, int):
        return False
    limits = np.iinfo(_DTYPES[datatype])
    return bool(limits.min <= value <= limits.max)


def _from_bytes(datatype: str, raw: memoryview | None) -> list[Element]:
    """Little-endian elements; a NaN is a missing value, because JSON's null has no binary form."""
    assert raw is not None
    if datatype == "BYTES":
        return list(_texts(raw))
    dtype = np.dtype(_DTYPES[datatype])
    if len(raw) % dtype.itemsize:
        raise TensorsInvalid([f"{len(raw)} bytes are not whole {datatype} elements"])
    values: list[Element] = np.frombuffer(raw, dtype).tolist()
    if datatype in _FLOATING:
        return [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    return values


def _texts(raw: memoryview) -> Iterator[str]:
    """BYTES elements: each a little-endian uint32 length, then UTF-8."""
    place = 0
    while place < len(raw):
        if place + 4 > len(raw):
            raise TensorsInvalid(["a BYTES element ends within its length"])
        (length,) = struct.unpack_from("<I", raw, place)
        place += 4
        if place + length > len(raw):
            raise TensorsInvalid(["a BYTES element is longer than the data"])
        try:
            yield bytes(raw[place : place + length]).decode()
        except UnicodeDecodeError:
            raise TensorsInvalid(["a BYTES element is not UTF-8"]) from None
        place += length


def pack(datatype: str, values: Sequence[Any]) -> bytes:
    """Return output values in the binary tensor extension's form: little-endian, BYTES with a length before each."""
    if datatype == "BYTES":
        encoded = [str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(part)) + part for part in encoded)
    return np.array(values, dtype=_DTYPES[datatype]).tobytes()


class OutputTensor(msgspec.Struct, frozen=True):
    """One output of an answer: `values` of `datatype`, one per row."""

    name: str
    datatype: str
    values: Sequence[Any]


class OutputParameters(msgspec.Struct, frozen=True):
    """The size of an output whose bytes follow the JSON head."""

    binary_data_size: int


class InferenceOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output of an answer, with `data` or with the size of its bytes."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: OutputParameters | None = None


def write_outputs(outputs: Sequence[OutputTensor], request: InferenceRequest) -> tuple[list[InferenceOutput], bytes]:
    """Return the outputs that the request asks for, and the bytes of those that are binary.

    Without a wish all are returned. An output is binary when the request asks for that output so (`binary_data`), or
    for all (`binary_data_output`).
    """
    wanted = {output.name: output.parameters for output in request.outputs}
    all_binary = request.parameters.get("binary_data_output") is True
    described, tail = [], []
    for output in outputs:
        if wanted and output.name not in wanted:
            continue
        head = (output.name, output.datatype, [len(output.values)])
        if wanted.get(output.name, {}).get("binary_data", all_binary) is True:
            raw = pack(output.datatype, output.values)
            described.append(InferenceOutput(*head, parameters=OutputParameters(len(raw))))
            tail.append(raw)
        else:
            described.append(InferenceOutput(*head, data=list(output.values)))
    return described, b"".join(tail)
