"""A child process that opens a model nobody vouches for: `python -m registry.onnx_check < request.json`.

It limits itself before it reads the first byte, prints one JSON object, {"checked": ...} or {"faults": [...]}, and
may die in any way that a hostile model can bring about: model_check.py, its parent, makes a reason of that.
"""

import hashlib
import math
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import it governs

import msgspec
import numpy as np
import onnx
import onnxruntime

from registry.model_check import Checked, Request
from registry.onnx_graph import STANDARD_DOMAINS, Inputs, class_labels, metadata_of, read_inputs, safety_faults
from registry.onnx_outputs import Output, choose_output, fraud_probability
from registry.signature import Kind, Signature, SignatureInvalid, Value, warm_up_rows

# Rows scored together and alone may differ in the last bits of a float32.
_SAME_SCORE = 1e-5

_DTYPES: dict[Kind, Any] = {
    "float": np.float32,
    "double": np.float64,
    "int32": np.int32,
    "int64": np.int64,
    "bool": np.bool_,
    "string": np.object_,
}


class _Refused(Exception):
    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)


def check(path: Path, features: tuple[str, ...] | None, positive: str | None) -> Checked:
    """Raises _Refused or SignatureInvalid."""
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception:  # protobuf has a class of its own for each of its implementations
        raise _Refused(["not an ONNX model: the file cannot be read as one"]) from None
    if faults := safety_faults(model):
        raise _Refused(faults)
    inputs = read_inputs(model, features)
    metadata = metadata_of(model)
    session = _open(data)
    signature = _signature(session, inputs, class_labels(model), positive or metadata.get("sira.positive"), metadata)
    facts = {
        "producer": _producer(model),
        "opset": {e.domain or "ai.onnx": e.version for e in model.opset_import if e.domain in STANDARD_DOMAINS},
        "checked_with": f"onnxruntime {onnxruntime.__version__}",
    }
    return Checked(hashlib.sha256(data).hexdigest(), len(data), signature, metadata.get("sira.thresholds"), facts)


def _producer(model: onnx.ModelProto) -> str:
    # CatBoost puts its whole build log into its version.
    return " ".join(text for text in (model.producer_name, model.producer_version) if text and text.isprintable())[:128]


def _open(data: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _Refused([f"onnxruntime does not load it: {_first_line(error)}"]) from None


def _signature(
    session: Any, inputs: Inputs, labels: tuple[int | str, ...] | None, positive: str | None, metadata: dict[str, str]
) -> Signature:
    """Raises _Refused unless the warm-up rows score, together and alone alike, within [0, 1]."""
    # The output half is not known yet; the input half makes the rows.
    taken = _assemble(inputs, Output(name="", layout="probability", positive=1))
    rows = warm_up_rows(taken)
    together = _run(session, taken, rows)
    output = choose_output(together, len(rows), labels=labels, positive=positive, wanted=metadata.get("sira.output"))
    scores = fraud_probability(output, together[output.name])
    if not all(math.isfinite(score) and 0.0 <= score <= 1.0 for score in scores):
        raise _Refused([f"output {output.name} is not a probability: a warm-up row scored outside [0, 1]"])
    alone = [float(fraud_probability(output, _run(session, taken, [row])[output.name])[0]) for row in rows]
    if any(abs(one - other) > _SAME_SCORE for one, other in zip(scores, alone, strict=True)):
        raise _Refused(["a row scores differently alone and beside others: rows must not depend on each other"])
    return _assemble(inputs, output)


def _assemble(inputs: Inputs, output: Output) -> Signature:
    name, kind = inputs.tensor or (None, None)
    return Signature(
        layout="tensor" if inputs.tensor else "columns",
        fields=inputs.fields,
        output_name=output.name,
        output_layout=output.layout,
        positive=output.positive,
        input_name=name,
        input_type=kind,
    )


def _run(session: Any, signature: Signature, rows: Sequence[Mapping[str, Value]]) -> dict[str, Any]:
    columns = {
        field.name: np.array([row.get(field.name, field.missing) for row in rows], dtype=_DTYPES[field.kind])
        for field in signature.fields
    }
    if signature.input_name is not None:
        feed = {signature.input_name: np.stack(list(columns.values()), axis=1)}
    else:
        feed = {f.name: columns[f.name] if f.rank == 1 else columns[f.name].reshape(-1, 1) for f in signature.fields}
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feed), strict=True))
    except Exception as error:
        reason = f'it does not score a warm-up row (zeros and "", ones and "1", or absent): {_first_line(error)}'
        raise _Refused([reason]) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _limit(request: Request) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (request.max_memory_bytes, request.max_memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (request.max_cpu_seconds, request.max_cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    _limit(request)
    answer: dict[str, Any]
    try:
        answer = {"checked": check(Path(request.path), request.features, request.positive)}
    except (_Refused, SignatureInvalid) as refused:
        answer = {"faults": list(refused.faults)}
    except MemoryError:
        answer = {"faults": [f"needs more than {request.max_memory_bytes >> 20} MiB of memory to open"]}
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
