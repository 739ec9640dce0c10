"""Child process that opens an untrusted model: `python -m registry.inspection.child < request.json`.

It limits its own memory, processor time and file size before it reads the file, and prints one JSON object,
{"inspected": ...} or {"faults": [...]}. A hostile model may crash it; the parent turns a crash into a refusal.
"""

import hashlib
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import onnx

from registry.inspection.graph import STANDARD_DOMAINS, class_labels, handles_missing, random_operators, safety_faults
from registry.inspection.inputs import read_inputs
from registry.inspection.metadata import ModelMetadata, read_metadata
from registry.inspection.parent import Inspected, InspectionRequest, ReferenceRequest
from registry.inspection.probe_rows import probe_rows, with_examples
from registry.inspection.probe_values import field_values
from registry.inspection.reference_file import ReferenceInvalid
from registry.inspection.reference_inspection import ReferenceDiffers, check_rows, declared_by, read_table
from registry.inspection.refusals import ModelUnfit, first_line
from registry.inspection.trial import GraphFacts, try_model
from registry.model_session import RUNTIME_VERSION, ModelSession, open_session
from registry.reason_codes import code_faults
from registry.signature import ModelInputs, SignatureInvalid


def inspect(path: Path, declared: ModelMetadata, reference: ReferenceRequest | None = None) -> Inspected:
    """Return what is needed to register a model. `declared` overrides the file's metadata.

    Raises ModelUnfit, SignatureInvalid, ReferenceInvalid and ReferenceDiffers.
    """
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception:  # protobuf has a class of its own for each of its implementations
        raise ModelUnfit("not an ONNX model: the file cannot be read as one") from None
    if faults := safety_faults(model):
        raise ModelUnfit(*faults)
    metadata, inputs = _declared(model, declared)
    table = None
    if reference is not None:
        table = read_table(reference, inputs)
        inputs = read_inputs(model, metadata.over(declared_by(table, inputs)))
    values = field_values(model, inputs)
    inputs = replace(with_examples(inputs, values), handles_missing=handles_missing(model))
    facts = GraphFacts(class_labels(model), metadata.positive, metadata.output, random_operators(model))
    session = _open(data)
    signature, warnings = try_model(session, inputs, probe_rows(inputs, values), facts)
    kept = None
    if reference is not None and table is not None:
        kept = check_rows(table, signature, ModelSession(signature, session), reference.tolerance)
    return Inspected(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        signature=signature,
        thresholds=metadata.thresholds,
        metadata={
            "producer": _producer(model),
            "opset": {e.domain or "ai.onnx": e.version for e in model.opset_import if e.domain in STANDARD_DOMAINS},
            "checked_with": RUNTIME_VERSION,
            **({"warnings": warnings} if warnings else {}),
            **({"reasons": msgspec.to_builtins(metadata.reasons)} if metadata.reasons else {}),
        },
        reference=kept,
    )


def _declared(model: onnx.ModelProto, declared: ModelMetadata) -> tuple[ModelMetadata, ModelInputs]:
    """Return the metadata of caller and file together, and the inputs; raises SignatureInvalid with all faults."""
    in_file, faults = read_metadata({entry.key: entry.value for entry in model.metadata_props})
    metadata = declared.over(in_file)
    try:
        inputs = read_inputs(model, metadata)
    except SignatureInvalid as invalid:
        raise SignatureInvalid([*faults, *invalid.faults]) from None
    faults += code_faults(metadata.reasons or (), inputs.fields)
    if faults:
        raise SignatureInvalid(faults)
    return metadata, inputs


def _producer(model: onnx.ModelProto) -> str:
    # CatBoost writes its whole build log into its version.
    return " ".join(text for text in (model.producer_name, model.producer_version) if text and text.isprintable())[:128]


def _open(data: bytes) -> Any:
    try:
        return open_session(data)
    except Exception as error:
        raise ModelUnfit(f"onnxruntime does not load it: {first_line(error)}") from None


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
        answer = {"inspected": inspect(Path(request.path), request.declared, request.reference)}
    except ReferenceDiffers as differs:
        answer = {"faults": [str(differs)], "differences": differs.differences}
    except (SignatureInvalid, ReferenceInvalid) as invalid:
        answer = {"faults": list(invalid.faults)}
    except ModelUnfit as unfit:
        answer = {"faults": list(unfit.args)}
    except MemoryError:
        answer = {"faults": [f"needs more than {request.max_memory_bytes >> 20} MiB of memory to open"]}
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
