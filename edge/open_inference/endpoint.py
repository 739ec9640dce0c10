"""The Open Inference Protocol's REST routes, /v2, on the serving port. Source: inference_rest.md of the protocol."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from edge.http.body import header
from edge.infer import JSON_CONTENT, InferEndpoint, Scored
from edge.infer_bodies import BATCH_BODY_LIMIT
from edge.open_inference.bodies import (
    InferenceError,
    InferenceResponse,
    ModelReady,
    ResponseParameters,
    ServedModelMetadata,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from edge.open_inference.events import read_events
from edge.open_inference.tensors import (
    InferenceRequest,
    OutputTensor,
    TensorsInvalid,
    read_request,
    write_outputs,
)
from edge.problems import HttpError, MethodNotAllowed, NoSuchPath, problem_response
from registry.feed import PayloadInvalid
from registry.signature import Kind
from runtime.build import running_build
from runtime.reading import InputInvalid, Violation
from scoring.errors import ModelNotLoaded, ProductUnknown
from scoring.job import Answer
from scoring.models.onnx_model import OnnxModel
from scoring.models.slots import ModelSlots

PREFIX = "/v2"
HEADER_LENGTH = b"inference-header-content-length"
NAME = "sira-inference"
OUTPUTS = {"score": "FP64", "decision": "BYTES", "prediction_id": "BYTES"}

_DATATYPES: dict[Kind, str] = {
    "string": "BYTES",
    "float": "FP32",
    "double": "FP64",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
}
_MODEL = re.compile(
    r"/v2/models/(?P<product>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<action>ready|infer))?", re.ASCII
)
_encode = msgspec.json.Encoder().encode


class OpenInference:
    """Answers every path under /v2. A model's name is its product; the version is the one in production."""

    def __init__(self, infer: InferEndpoint, slots: ModelSlots, not_ready_because: Callable[[], list[str]]) -> None:
        self._infer = infer
        self._slots = slots
        self._not_ready_because = not_ready_because

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"].removesuffix("/"), scope["method"]
        matched = _MODEL.fullmatch(path)
        action = matched["action"] if matched else None
        route = f"/v2/models/{{product}}{'/' + action if action else ''}" if matched else path
        try:
            if matched and action == "infer":
                _check_method(method, "POST")
                await self._score(matched["product"], matched["version"], scope, receive, send)
                return
            answer = self._describe(matched, path, method, header(scope["headers"], b"authorization"))
        except Exception as error:
            self._infer.counters.response(_route_label(route, error), await _send_error(send, error))
            return
        status, body = answer
        self._infer.counters.response(route, status)
        await _send(send, status, [JSON_CONTENT], _encode(body))

    def _describe(
        self, matched: re.Match[str] | None, path: str, method: str, authorization: bytes | None
    ) -> tuple[int, msgspec.Struct]:
        """Return the status and body of a route that scores nothing."""
        if matched:
            _check_method(method, "GET")
            self._infer.identify(authorization)
            product = matched["product"]
            model = self._model(product, matched["version"])
            if matched["action"] == "ready":
                # The specification names this value `ready`; a widely used client reads `live`.
                return 200, ModelReady(product, ready=True, live=True)
            return 200, metadata(product, model)
        known = {"/v2", "/v2/health/live", "/v2/health/ready"}
        if path not in known:
            raise NoSuchPath
        _check_method(method, "GET")
        if path == "/v2":
            return 200, ServerMetadata(NAME, running_build().version, ["binary_tensor_data"])
        if path == "/v2/health/live":
            return 200, ServerLive(live=True)
        ready = not self._not_ready_because()
        return 200 if ready else 503, ServerReady(live=True, ready=ready)

    async def _score(self, product: str, version: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        length = header(scope["headers"], HEADER_LENGTH)

        async def score(body: bytes) -> Scored:
            model = self._model(product, version)
            request, events, ids_generated = _read(body, length, product, model)
            answers = []
            for outcome in await self._infer.outcomes(events):
                if isinstance(outcome, Exception):
                    raise outcome
                answers.append(outcome)
            return _write(request, product, model, events, answers, ids_generated=ids_generated)

        await self._infer.answer(
            score, BATCH_BODY_LIMIT, "/v2/models/{product}/infer", scope, receive, send, refuse=_send_error
        )

    def _model(self, product: str, version: str | None) -> OnnxModel:
        """Return a product's production model; raises ProductUnknown, ModelNotLoaded, or 404 for another version."""
        snapshot = self._slots.current()
        slot = snapshot.products.get(product)
        if slot is None:
            if product in snapshot.waiting or not snapshot.synced:
                raise ModelNotLoaded(snapshot.waiting.get(product, "no model is loaded yet"))
            raise ProductUnknown
        if version is not None and version != slot.production.version.version:
            raise HttpError(404, f"production serves version {slot.production.version.version} of {product}")
        return slot.production


def metadata(product: str, model: OnnxModel) -> ServedModelMetadata:
    """Return a model's metadata: one input of shape [rows] per payload field, and the outputs."""
    return ServedModelMetadata(
        name=product,
        versions=[model.version.version],
        platform="onnxruntime_onnx",
        inputs=[
            TensorMetadata(field.name, _DATATYPES[field.kind], [-1]) for field in model.version.signature.inputs.fields
        ],
        outputs=[TensorMetadata(name, datatype, [-1]) for name, datatype in OUTPUTS.items()],
    )


def _read(
    body: bytes, length: bytes | None, product: str, model: OnnxModel
) -> tuple[InferenceRequest, list[dict[str, Any]], bool]:
    """Return the request and its events. Every row is checked before the first is scored. Raises InputInvalid."""
    if length is not None and not length.isdigit():
        raise TensorsInvalid(["Inference-Header-Content-Length must be a number of bytes"])
    request, tensors = read_request(body, None if length is None else int(length))
    fields = [field.name for field in model.version.signature.inputs.fields]
    if unknown := sorted({output.name for output in request.outputs} - OUTPUTS.keys()):
        raise TensorsInvalid([f"no output {', '.join(unknown)}: the outputs are {', '.join(OUTPUTS)}"])
    events, ids_generated = read_events(
        tensors, request.parameters, product=product, fields=fields, new_event_id=lambda: str(uuid.uuid4())
    )
    faults: list[Violation] = []
    for row, event in enumerate(events):
        try:
            model.feed.row(event["payload"])
        except PayloadInvalid as invalid:
            faults += [Violation(f"row {row}{violation.pointer}", violation.detail) for violation in invalid.violations]
    if faults:
        raise InputInvalid(faults)
    return request, events, ids_generated


def _write(
    request: InferenceRequest,
    product: str,
    model: OnnxModel,
    events: list[dict[str, Any]],
    answers: list[Answer],
    *,
    ids_generated: bool,
) -> Scored:
    ids = ResponseParameters(event_id_generated=True, event_id=[event["event_id"] for event in events])
    outputs = [
        OutputTensor(name, datatype, [getattr(answer, name) for answer in answers])
        for name, datatype in OUTPUTS.items()
    ]
    described, tail = write_outputs(outputs, request)
    head = InferenceResponse(product, model.version.version, described, request.id, ids if ids_generated else None)
    body = _encode(head)
    if not tail:
        return Scored(body)
    return Scored(body + tail, ((b"content-type", b"application/octet-stream"), (HEADER_LENGTH, b"%d" % len(body))))


def _check_method(method: str, allowed: str) -> None:
    if method != allowed and (method, allowed) != ("HEAD", "GET"):
        raise MethodNotAllowed([allowed])


def _route_label(route: str, error: Exception) -> str:
    """Return the route for the request counter: callers invent paths, which must not become series."""
    return PREFIX if isinstance(error, NoSuchPath) else route


async def _send_error(send: Send, error: Exception) -> int:
    """Answer with the protocol's error object; return its status. Problem documents are for /v1."""
    status, headers, body = problem_response(HttpError(400, str(error)) if isinstance(error, TensorsInvalid) else error)
    problem = msgspec.json.decode(body)
    faults = [f"{fault['pointer']}: {fault['detail']}" for fault in problem.get("errors", ())]
    kept = [pair for pair in headers if pair[0] not in (b"content-type", b"content-length")]
    await _send(send, status, [JSON_CONTENT, *kept], _encode(InferenceError("; ".join(faults) or problem["detail"])))
    return status


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
