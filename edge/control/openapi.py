"""The OpenAPI document of a process, made from its routes."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from edge.control.routes import Access, Route, Text
from edge.http.body import UPLOAD_PARTS
from edge.problems import CONTENT_TYPE, TITLES, Problem
from runtime.build import running_build

_Security = dict[str, list[str]]

_SERVICE: _Security = {"serviceToken": []}
_PERSON: _Security = {"person": []}
_SECURITY: dict[Access, list[_Security]] = {
    Access.ANYONE: [],
    Access.OPTIONAL: [{}, _PERSON],
    Access.ANY_TOKEN: [_SERVICE, _PERSON],
    Access.VIEWER: [_PERSON],
    Access.AUDITOR: [_PERSON],
    Access.ML_OPS: [_PERSON],
    Access.SERVICE: [_SERVICE],
    Access.SERVICE_OR_ML_OPS: [_SERVICE, _PERSON],
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the routes."""
    routes = [*routes]
    types = [kind for route in routes for kind in _types(route)]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template="#/components/schemas/{name}")
    by_type = dict(zip(map(repr, [*types, Problem]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SIRA inference",
            "version": running_build().version,
            "description": "Fraud scoring with models from a registry, and canaries that are judged.",
        },
        "paths": paths,
        "components": {
            "schemas": {name: _with_clean_description(schema) for name, schema in components.items()},
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


def _types(route: Route) -> list[Any]:
    given = [kind for status in route.gives for kind in _alternatives(route, status) if not isinstance(kind, Text)]
    return [*given, *(kind for kind in (route.takes, route.refusal_body) if kind is not None)]


def _alternatives(route: Route, status: int) -> tuple[Any, ...]:
    given = route.gives[status]
    return given if isinstance(given, tuple) else (given,)


def _with_clean_description(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "description" not in schema:
        return dict(schema)
    return {**schema, "description": inspect.cleandoc(schema["description"])}


def _operation(route: Route, schemas: Mapping[str, Any]) -> dict[str, Any]:
    needs = "" if route.access in (Access.ANYONE, Access.OPTIONAL) else f"Needs {route.access.value}."
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "tags": [route.group],
        "summary": route.summary,
        "description": " ".join(filter(None, (route.notes, needs))),
        "security": _SECURITY[route.access],
        "parameters": _parameters(route),
        "responses": {**_answers(route, schemas), **_refusals(route, schemas)},
    }
    if route.takes is not None:
        operation["requestBody"] = _body(route, schemas)
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    return in_path if route.query is None else [*in_path, *_query_parameters(route.query)]


def _query_parameters(kind: type[msgspec.Struct]) -> Iterator[dict[str, Any]]:
    """Yield the fields of a query as parameters. A parameter cannot be null, but it may be left out."""
    _, components = msgspec.json.schema_components([kind])
    for name, found in components[kind.__name__]["properties"].items():
        schema = {key: value for key, value in found.items() if value is not None}
        present = [one for one in schema.pop("anyOf", ()) if one != {"type": "null"}]
        schema |= present[0] if present else {}
        if ref := schema.pop("$ref", None):
            schema |= {"enum": components[ref.rpartition("/")[2]]["enum"]}
        description = schema.pop("description", "")
        yield {"name": name, "in": "query", "schema": schema, "description": description}


def _body(route: Route, schemas: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schemas[repr(route.takes)]}}
    if route.upload:
        required = [field.name for field in msgspec.structs.fields(route.takes) if field.required]
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "properties": {name: {"contentMediaType": "application/octet-stream"} for name in UPLOAD_PARTS},
                "required": ["file", *required],
            }
        }
    return {"required": route.body_required, "content": content}


def _answers(route: Route, schemas: Mapping[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status in route.gives:
        kinds = _alternatives(route, status)
        texts = [kind for kind in kinds if isinstance(kind, Text)]
        content: dict[str, Any] = {text.media_type: {"schema": {"type": "string"}} for text in texts}
        found = [schemas[repr(kind)] for kind in kinds if not isinstance(kind, Text)]
        if found:
            content["application/json"] = {"schema": found[0] if len(found) == 1 else {"anyOf": found}}
        answers[str(status)] = {"description": "Done" if status < 400 else TITLES[status], "content": content}
    return answers


def _refusals(route: Route, schemas: Mapping[str, Any]) -> dict[str, Any]:
    if route.refusal_body is None:
        content = {CONTENT_TYPE: {"schema": schemas[repr(Problem)]}}
    else:
        content = {"application/json": {"schema": schemas[repr(route.refusal_body)]}}
    return {
        str(status): {"description": TITLES[status], "content": content, **_headers(status)}
        for status in route.refusals()
        if status not in route.gives
    }


def _headers(status: int) -> dict[str, Any]:
    if status in (408, 429, 503):
        return {"headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}}
    if status == 401:
        return {"headers": {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}}
    return {}
