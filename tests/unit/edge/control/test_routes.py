"""Every route names the types that read and make its bodies, and the document is made from nothing else."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args

import jsonschema
import msgspec
import pytest

from edge import api, infer_bodies
from edge.api.models import Promoted
from edge.control.openapi import document
from edge.control.routes import Route, Text
from registry.model_version import ModelVersion
from runtime.reading import InputInvalid, read
from scoring.event import parse_event

ROUTES = (*infer_bodies.ROUTES, *api.control_routes(list, list))
WITH_BODY = [route for route in ROUTES if route.takes is not None]
# Values of every JSON type, to see which the document and the parser take for a field.
PROBES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    101,
    10**12,
    0.5,
    "",
    "x",
    "y" * 2000,
    "production",
    [],
    ["x"],
    {},
    {"a": 1},
)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def body_struct(route: Route) -> type[msgspec.Struct]:
    """The struct of one item: a body is a struct, or a list of one."""
    kind = route.takes
    while not isinstance(kind, type):
        kind = get_args(kind)[0]
    assert issubclass(kind, msgspec.Struct)
    return kind


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_a_route_has_a_summary_and_says_what_it_gives(route: Route) -> None:
    assert route.summary
    assert any(status < 400 for status in route.gives)
    for given in route.gives.values():
        for kind in given if isinstance(given, tuple) else (given,):
            described = isinstance(kind, Text) or is_dataclass(kind) or kind == dict[str, Any]
            assert described or issubclass(kind, msgspec.Struct)


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_a_post_takes_a_body_and_a_get_takes_none(route: Route) -> None:
    assert (route.takes is not None) == (route.method == "POST")


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
def test_a_body_refuses_fields_that_it_does_not_know(route: Route) -> None:
    assert body_struct(route).__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
def test_the_document_and_the_parser_agree_about_every_field(route: Route) -> None:
    """For each field and probe: the schema takes the value if the parser has no fault at that field."""
    struct = body_struct(route)
    described = document(ROUTES)
    schema = described["components"]["schemas"][struct.__name__]
    assert set(schema["properties"]) == {field.encode_name for field in msgspec.structs.fields(struct)}
    for field in schema["properties"]:
        checker = jsonschema.Draft202012Validator(
            {**schema["properties"][field], "components": described["components"]}
        )
        for probe in PROBES:
            if (struct.__name__, field) == ("LabelToAdd", "labelled_at"):
                continue  # its format is a note in JSON Schema
            assert checker.is_valid(probe) == reads(struct, field, probe), (field, probe)


def reads(struct: type[msgspec.Struct], field: str, value: object) -> bool:
    if struct is infer_bodies.BatchToScore and isinstance(value, list):
        # Events are read one by one.
        return bool(value) and all(parses(event) for event in value)
    try:
        read(struct, {field: value})
    except InputInvalid as invalid:
        return not any(v.pointer == f"/{field}" or v.pointer.startswith(f"/{field}/") for v in invalid.violations)
    return True


def parses(event: object) -> bool:
    try:
        parse_event(event)
    except InputInvalid:
        return False
    return True


@pytest.mark.parametrize("route", [route for route in ROUTES if route.query is not None], ids=name)
def test_a_query_is_described_by_its_struct(route: Route) -> None:
    operation = document(ROUTES)["paths"][route.path][route.method.lower()]
    assert route.query is not None
    described = {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == "query"}
    assert described.keys() == {field.name for field in msgspec.structs.fields(route.query)}
    assert not any("anyOf" in schema or "$ref" in schema for schema in described.values())


def test_a_promotion_answers_every_field_of_a_version_and_two_more() -> None:
    more = {field.name for field in fields(Promoted)} - {field.name for field in fields(ModelVersion)}
    assert more == {"previous_status", "retired_model_id"}


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
def test_a_reason_follows_one_rule(route: Route) -> None:
    reasons = [field for field in msgspec.structs.fields(body_struct(route)) if field.name == "reason"]
    for _ in reasons:
        assert not reads(body_struct(route), "reason", "")
        assert not reads(body_struct(route), "reason", "r" * 1001)
        assert reads(body_struct(route), "reason", "r" * 1000)
