"""GET /openapi.json and GET /docs: every route of a process, from its routes and edge/operations.py."""

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from edge.operations import OPERATIONS, Operation, Text
from edge.problems import CONTENT_TYPE, TITLES, Problem
from edge.routes import Access, Call, Reply, Route
from runtime.build import running_build

_Security = dict[str, list[str]]

_SERVICE: _Security = {"serviceToken": []}
_PERSON: _Security = {"person": []}
_SECURITY: dict[Access, list[_Security]] = {
    Access.ANYONE: [],
    Access.OPTIONAL: [{}, _PERSON],
    Access.VIEWER: [_PERSON],
    Access.AUDITOR: [_PERSON],
    Access.ML_OPS: [_PERSON],
    Access.SERVICE: [_SERVICE],
    Access.SERVICE_OR_ML_OPS: [_SERVICE, _PERSON],
}
_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    (Path(__file__).parent / "docs.html.j2").read_text()
)
# Answers whose JSON is not quite what their class says: the payload is kept as text and answered as it was sent.
_AS_ANSWERED = {"StoredPrediction": {"payload": {"type": "object"}}}


def _infer(call: Call) -> Reply:
    raise AssertionError("/v1/infer is answered before any route")


# For the document alone: these are answered on the direct path.
SCORING_ROUTES = (
    Route("POST", "/v1/infer", Access.SERVICE, _infer),
    Route("POST", "/v1/infer/batch", Access.SERVICE, _infer),
)


def docs_routes(documented: Iterable[Route]) -> tuple[Route, ...]:
    """The two routes that describe `documented` and themselves."""

    def openapi_json(call: Call) -> Reply:
        return Reply(described)

    def page(call: Call) -> Reply:
        return Reply(text=written, media_type="text/html; charset=utf-8")

    own = (
        Route("GET", "/openapi.json", Access.ANYONE, openapi_json),
        Route("GET", "/docs", Access.ANYONE, page),
    )
    described = document((*documented, *own))
    written = _PAGE.render(document=described, groups=_grouped(described), example=_example)
    return own


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of the routes; raises KeyError for one that edge/operations.py does not know."""
    routes = [*routes]
    operations = [OPERATIONS[route.method, route.path] for route in routes]
    types = [kind for operation in operations for kind in _types(operation)]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template="#/components/schemas/{name}")
    by_type = dict(zip(map(repr, [*types, Problem]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route, operation in zip(routes, operations, strict=True):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SIRA inference",
            "version": running_build().version,
            "description": "Fraud scoring with models from a registry, and canaries that are judged.",
        },
        "paths": paths,
        "components": {
            "schemas": {name: _told(name, schema) for name, schema in components.items()},
            "securitySchemes": {
                "serviceToken": {"type": "http", "scheme": "bearer", "description": "INTERNAL_SERVICE_TOKEN"},
                "person": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "HS256, with `exp`, `sub` and `roles`: `python -m registry token` mints one.",
                },
            },
        },
    }


def _types(operation: Operation) -> list[Any]:
    given = [kind for kinds in operation.gives.values() for kind in kinds if not isinstance(kind, Text)]
    return given if operation.takes is None else [*given, operation.takes]


def _told(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    told = dict(schema)
    if "description" in told:
        told["description"] = inspect.cleandoc(told["description"])
    if name in _AS_ANSWERED:
        told["properties"] = told["properties"] | _AS_ANSWERED[name]
    return told


def _operation(route: Route, operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    needs = "" if route.access in (Access.ANYONE, Access.OPTIONAL) else f"Needs {route.access.value}."
    told: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "tags": [operation.group],
        "summary": operation.summary,
        "description": " ".join(filter(None, (operation.notes, needs))),
        "security": _SECURITY[route.access],
        "parameters": _parameters(route, operation),
        "responses": {**_answers(operation, schemas), **_refusals(route, operation, schemas)},
    }
    if operation.takes is not None:
        told["requestBody"] = _body(operation, schemas)
    return told


def _parameters(route: Route, operation: Operation) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    in_query = [
        {"name": one.name, "in": "query", "schema": dict(one.schema), "description": one.description}
        for one in operation.query
    ]
    return in_path + in_query


def _body(operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    schema = schemas[repr(operation.takes)]
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if operation.upload:
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"contentMediaType": "application/octet-stream"},
                    "reference": {"contentMediaType": "application/octet-stream"},
                },
                "required": ["file", "product", "name", "version"],
            }
        }
    return {"required": operation.body_required, "content": content}


def _answers(operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, kinds in operation.gives.items():
        texts = [kind for kind in kinds if isinstance(kind, Text)]
        content: dict[str, Any] = {text.media_type: {"schema": {"type": "string"}} for text in texts}
        found = [schemas[repr(kind)] for kind in kinds if not isinstance(kind, Text)]
        if found:
            content["application/json"] = {"schema": found[0] if len(found) == 1 else {"anyOf": found}}
        answers[str(status)] = {"description": "Done" if status < 400 else TITLES[status], "content": content}
    return answers


def _refusals(route: Route, operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    statuses = set(operation.refuses)
    if route.access is not Access.ANYONE:
        statuses.add(401)
    if route.access not in (Access.ANYONE, Access.OPTIONAL):
        statuses.add(403)
    content = {CONTENT_TYPE: {"schema": schemas[repr(Problem)]}}
    return {
        str(status): {"description": TITLES[status], "content": content, **_headers(status)}
        for status in sorted(statuses)
    }


def _headers(status: int) -> dict[str, Any]:
    if status in (408, 429, 503):
        return {"headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}}
    if status == 401:
        return {"headers": {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}}
    return {}


def _grouped(described: Mapping[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """Operations for the page: group -> (method, path, operation)."""
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    return groups


def _example(method: str, path: str, operation: Mapping[str, Any]) -> str:
    """A curl line for the page."""
    words = ["curl", f"http://localhost:8080{path}"]
    if method != "GET":
        words.insert(1, f"-X {method}")
    if {"serviceToken": []} in operation["security"]:
        words.append('-H "Authorization: Bearer $INTERNAL_SERVICE_TOKEN"')
    elif operation["security"] and {} not in operation["security"]:
        words.append('-H "Authorization: Bearer $ML_OPS_TOKEN"')
    return " ".join(words)
