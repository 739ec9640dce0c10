"""Child process that opens an untrusted model: `python -m registry.inspection.child < request.json`.

It limits its own memory, processor time and file size before it reads the file, and prints one JSON object,
{"inspected": ...} or {"faults": [...]}. A hostile model may crash it; the parent turns a crash into a refusal.
"""

import hashlib
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from registry.feed import Feed, InputFeed, Row
from registry.inspection.graph import STANDARD_DOMAINS, class_labels, metadata_of, read_inputs, safety_faults
from registry.inspection.outputs import choose_output
from registry.inspection.parent import Inspected, InspectionRequest
from registry.model_session import RUNTIME_VERSION, open_session
from registry.signature import Inputs, Signature, SignatureInvalid, warm_up_rows

# Rows scored together and alone may differ in the last bits of a float32.
_SAME_SCORE = 1e-5


class _Refused(Exception):
    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)


def inspect(path: Path, features: tuple[str, ...] | None, positive: str | None) -> Inspected:
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
        "checked_with": RUNTIME_VERSION,
    }
    return Inspected(hashlib.sha256(data).hexdigest(), len(data), signature, metadata.get("sira.thresholds"), facts)


def _producer(model: onnx.ModelProto) -> str:
    # CatBoost writes its whole build log into its version.
    return " ".join(text for text in (model.producer_name, model.producer_version) if text and text.isprintable())[:128]


def _open(data: bytes) -> Any:
    try:
        return open_session(data)
    except Exception as error:
        raise _Refused([f"onnxruntime does not load it: {_first_line(error)}"]) from None


def _signature(
    session: Any, inputs: Inputs, labels: tuple[int | str, ...] | None, positive: str | None, metadata: dict[str, str]
) -> Signature:
    """Raises _Refused unless the warm-up rows score, together and alone alike, within [0, 1]."""
    if faults := inputs.faults():
        raise SignatureInvalid(faults)
    taken = InputFeed(inputs)
    rows = [taken.row(payload) for payload in warm_up_rows(inputs)]
    together = _run(session, taken, rows)
    output = choose_output(together, len(rows), labels=labels, positive=positive, wanted=metadata.get("sira.output"))
    signature = Signature.of(inputs, output)
    feed = Feed(signature)
    scores = feed.scores(together[output.name], len(rows))
    if np.isnan(scores).any():
        raise _Refused([f"output {output.name} is not a probability: a warm-up row scored outside [0, 1]"])
    alone = [float(feed.scores(_run(session, feed, [row])[output.name], 1)[0]) for row in rows]
    if not np.allclose(scores, alone, rtol=0, atol=_SAME_SCORE):
        raise _Refused(["a row scores differently alone and beside others: rows must not depend on each other"])
    return signature


def _run(session: Any, feed: InputFeed, rows: Sequence[Row]) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feed.inputs(rows)), strict=True))
    except Exception as error:
        reason = f'it does not score a warm-up row (zeros and "", ones and "1", or absent): {_first_line(error)}'
        raise _Refused([reason]) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _limit(request: InspectionRequest) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (request.max_memory_bytes, request.max_memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (request.max_cpu_seconds, request.max_cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=InspectionRequest)
    _limit(request)
    answer: dict[str, Any]
    try:
        answer = {"inspected": inspect(Path(request.path), request.features, request.positive)}
    except (_Refused, SignatureInvalid) as refused:
        answer = {"faults": list(refused.faults)}
    except MemoryError:
        answer = {"faults": [f"needs more than {request.max_memory_bytes >> 20} MiB of memory to open"]}
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
