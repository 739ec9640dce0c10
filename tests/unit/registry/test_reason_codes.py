"""Reason codes: read from YAML or JSON, checked against the model's fields, and found by field, direction and range."""

import json
import math

import pytest

from registry.inspection.metadata import ModelMetadata, read_metadata
from registry.reason_codes import ReasonCode, ReasonCodes, code_faults, parse_codes, read_codes
from registry.signature import Field

YAML = """
- {field: attempts, direction: raises, at_least: 3, code: R07, sentence: more attempts within the hour than usual}
- field: attempts
  code: R08
  sentence: attempts within the hour
"""
FIELDS = (Field("attempts", "float"), Field("country", "string"))


def test_yaml_and_json_are_read_alike() -> None:
    codes, faults = parse_codes(YAML)
    assert faults == []
    assert codes == (
        ReasonCode("attempts", "R07", "more attempts within the hour than usual", "raises", 3.0),
        ReasonCode("attempts", "R08", "attempts within the hour"),
    )
    written = json.dumps([{"field": "attempts", "code": "R08", "sentence": "attempts within the hour"}])
    assert parse_codes(written)[0] == codes[1:]


@pytest.mark.parametrize("text", ["{", "a: [1", "field: x", "", "3", "!!python/object:os.system {}"])
def test_text_without_a_list_of_codes_is_refused(text: str) -> None:
    assert parse_codes(text)[1]


def test_every_fault_is_named_by_its_place_and_no_value_is_shown() -> None:
    _, faults = read_codes([{"field": "", "code": "secret value", "sentence": "s", "below": "x", "more": 1}, {}])
    places = [fault.split()[2] for fault in faults]
    assert sorted(places) == sorted(
        ["/0/more", "/0/field", "/0/code", "/0/below", "/1/field", "/1/code", "/1/sentence"]
    )
    assert "secret value" not in " ".join(faults)


def test_codes_of_unknown_fields_and_ranges_of_text_are_faults() -> None:
    codes = [
        ReasonCode("attempt", "R1", "s"),
        ReasonCode("country", "R2", "s", at_least=1.0),
        ReasonCode("attempts", "R3", "s", at_least=2.0, below=2.0),
        ReasonCode("attempts", "R4", "a\nb"),
    ]
    found = code_faults(codes, FIELDS)
    for number, (fault, part) in enumerate(
        zip(found, ("did you mean attempts?", "is not a number", "empty range", "do not print"), strict=True), 1
    ):
        assert f"R{number}" in fault
        assert part in fault
    assert code_faults([ReasonCode("attempts", "R5", "s", at_least=1.0, below=2.0)], FIELDS) == []


@pytest.mark.parametrize(
    ("direction", "value", "expected"),
    [
        ("raises", 3.0, "R07"),
        ("raises", 2.9, "R08"),
        ("raises", math.nan, "R08"),
        ("lowers", 3.0, "R08"),
        ("none", 3.0, None),
    ],
)
def test_the_first_code_that_fits_counts(direction: str, value: float, expected: str | None) -> None:
    found = ReasonCodes(parse_codes(YAML)[0]).find("attempts", direction, value)
    assert (found.code if found else None) == expected


def test_a_field_without_codes_has_none_and_a_range_ends_before_below() -> None:
    codes = ReasonCodes([ReasonCode("a", "R", "s", below=2.0)])
    assert codes.find("b", "raises", 1.0) is None
    assert codes.find("a", "raises", 2.0) is None
    assert codes.find("a", "raises", 1.9) is not None


def test_the_files_codes_are_replaced_as_a_whole_by_the_callers() -> None:
    in_file, faults = read_metadata({"sira.reasons": json.dumps([{"field": "a", "code": "F", "sentence": "file"}])})
    assert faults == []
    own = (ReasonCode("b", "C", "caller"),)
    assert ModelMetadata(reasons=own).over(in_file).reasons == own
    assert ModelMetadata(reasons=()).over(in_file).reasons == ()
    assert ModelMetadata().over(in_file).reasons == (ReasonCode("a", "F", "file"),)
    assert read_metadata({"sira.reasons": "no json"})[1]
