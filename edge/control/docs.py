"""GET /openapi.json and GET /docs: every route of a process, described."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from edge.control.openapi import document
from edge.control.routes import Access, Call, Reply, Route, Text

_HERE = Path(__file__).parent
_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    (_HERE / "docs.html.j2").read_text()
)
_STYLE, _SCRIPT = ((_HERE / name).read_text() for name in ("docs.css", "docs.js"))


def _source(text: str) -> str:
    """Return the source of an inline text for a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# The page needs no other file, and its script reaches this server only.
POLICY = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'"
)


def docs_routes(documented: Iterable[Route]) -> tuple[Route, ...]:
    """Return the two routes that describe `documented` and themselves."""

    def openapi_json(call: Call) -> Reply:
        return Reply(described)

    def page(call: Call) -> Reply:
        return Reply(text=written, media_type="text/html; charset=utf-8")

    own = (
        Route(
            "GET", "/openapi.json", Access.ANYONE, openapi_json, "Health", "This document",
            gives={200: dict[str, Any]}, local=True,
        ),
        Route(
            "GET", "/docs", Access.ANYONE, page, "Health", "This document as a page",
            gives={200: Text("text/html")}, local=True,
        ),
    )  # fmt: skip
    described = document((*documented, *own))
    written = _PAGE.render(
        document=described,
        groups=_grouped(described),
        example=_example,
        sample=lambda operation: _sample_body(operation, described["components"]["schemas"]),
        policy=POLICY,
        style=Markup(_STYLE),
        script=Markup(_SCRIPT),
    )
    return own


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


def _sample_body(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Return a body with the fields that an operation requires, as JSON to be edited."""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return json.dumps(_sample(schema, schemas), indent=2)


def _sample(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _sample(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "examples" in schema:
        return schema["examples"][0]
    for choice in ("enum", "anyOf"):
        if choice in schema:
            first = schema[choice][0]
            return _sample(first, schemas) if choice == "anyOf" else first
    if schema.get("type") == "object":
        required = schema.get("required", ())
        return {name: _sample(schema["properties"][name], schemas) for name in required}
    if schema.get("type") == "array":
        return [_sample(schema["items"], schemas)] if schema.get("items") else []
    if schema.get("type") == "string" and schema.get("minLength"):
        return "..."
    return {"string": "", "integer": 1, "number": 1.0, "boolean": True}.get(schema.get("type", ""))
