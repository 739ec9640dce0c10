"""GET /openapi.json and GET /docs: every route of a process, described."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from edge.openapi import document
from edge.routes import Access, Call, Reply, Route, Text

_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    (Path(__file__).parent / "docs.html.j2").read_text()
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
    written = _PAGE.render(document=described, groups=_grouped(described), example=_example)
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
