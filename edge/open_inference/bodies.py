"""Bodies of the Open Inference Protocol's answers, and its routes for /openapi.json."""

from typing import Any

import msgspec

from edge.control.routes import Access, Route, answered_before_routing
from edge.infer_bodies import BATCH_BODY_LIMIT
from edge.open_inference.tensors import MAX_ROWS, InferenceOutput, InferenceRequest


class InferenceError(msgspec.Struct, frozen=True):
    """Every fault of the request in one text."""

    error: str


class ServerLive(msgspec.Struct, frozen=True):
    live: bool


class ServerReady(msgspec.Struct, frozen=True):
    """Both names: the specification's and a widely used client's differ."""

    live: bool
    ready: bool


class ServerMetadata(msgspec.Struct, frozen=True):
    name: str
    version: str
    extensions: list[str]


class ModelReady(msgspec.Struct, frozen=True):
    name: str
    ready: bool
    live: bool


class TensorMetadata(msgspec.Struct, frozen=True):
    """A tensor; a size of -1 is the number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ServedModelMetadata(msgspec.Struct, frozen=True):
    """A product's production model: one input per payload field, in the model's order."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ResponseParameters(msgspec.Struct, frozen=True):
    """The event ids that were generated, one per row."""

    event_id_generated: bool
    event_id: list[str]


class InferenceResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output of each kind per row of the request. `id` is the request's."""

    model_name: str
    model_version: str
    outputs: list[InferenceOutput]
    id: str = ""
    parameters: ResponseParameters | None = None


def _route(method: str, path: str, access: Access, summary: str, gives: Any, **fields: Any) -> Route:
    statuses = {200: gives} | ({503: ServerReady} if gives is ServerReady else {})
    return Route(
        method,
        path,
        access,
        answered_before_routing,
        "Open Inference",
        summary,
        gives=statuses,
        refusal_body=InferenceError,
        **fields,
    )


_MODEL, _VERSION = "/v2/models/{product}", "/v2/models/{product}/versions/{version}"
_INFER_NOTES = (
    "Inputs by field name, or one tensor whose columns are the fields in the model's order. `event_id` and"
    " `routing_key` are BYTES inputs or request parameters. The log and the canary are those of /v1/infer."
)

ROUTES = (
    _route("GET", "/v2", Access.ANYONE, "Describe the server", ServerMetadata, local=True),
    _route("GET", "/v2/health/live", Access.ANYONE, "Show that the process answers", ServerLive, local=True),
    _route("GET", "/v2/health/ready", Access.ANYONE, "Show whether it can score", ServerReady, local=True),
    *(
        route
        for path in (_MODEL, _VERSION)
        for route in (
            _route(
                "GET",
                path,
                Access.ANY_TOKEN,
                "Describe a product's production model",
                ServedModelMetadata,
                refuses=(404,),
            ),
            _route("GET", f"{path}/ready", Access.ANY_TOKEN, "Show whether it can score", ModelReady, refuses=(404,)),
            _route(
                "POST",
                f"{path}/infer",
                Access.SERVICE,
                f"Score up to {MAX_ROWS:,} rows",
                InferenceResponse,
                takes=InferenceRequest,
                refuses=(404, 429, 500),
                notes=_INFER_NOTES,
                body_limit=BATCH_BODY_LIMIT,
            ),
        )
    ),
)
