"""Typed columns of payload fields hold what Python's json reads, where the type fits."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.parts.payload_fields import PayloadFields

TYPES = {
    "text": pa.string(),
    'odd "é" name': pa.string(),
    "flag": pa.bool_(),
    "whole": pa.int64(),
    "real": pa.float64(),
}
FITTING = {
    "text": st.text(),
    'odd "é" name': st.text(),
    "flag": st.booleans(),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70),
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "x"]), inner, max_size=2),
    max_leaves=4,
)


def columns_of(payloads: list[dict[str, Any]]) -> dict[str, list[Any]]:
    texts = [json.dumps(payload, sort_keys=True, separators=(",", ":")) for payload in payloads]
    table = pa.table({"payload": pa.chunked_array([texts], pa.string())})
    found = PayloadFields(TYPES).added_to(table)
    assert found.num_rows == len(payloads)
    return {name: found[f"field_{name}"].to_pylist() for name in TYPES}


def expected(payload: dict[str, Any], name: str) -> Any:
    """What docs/archive.md says a column holds of one payload."""
    value = payload.get(name)
    if TYPES[name] == pa.string():
        return value if isinstance(value, str) else None
    if TYPES[name] == pa.bool_():
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if TYPES[name] == pa.int64():
        return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None
    try:
        return float(value)
    except OverflowError:
        return None


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional={**FITTING, "other": ANYTHING}), max_size=5))
def test_fitting_values_are_kept_exactly(payloads: list[dict[str, Any]]) -> None:
    found = columns_of(payloads)
    for name in TYPES:
        assert list(map(repr, found[name])) == [repr(expected(payload, name)) for payload in payloads]


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(TYPES, ANYTHING)), max_size=5))
def test_a_value_of_another_type_is_null_and_costs_no_other_value(payloads: list[dict[str, Any]]) -> None:
    found = columns_of(payloads)
    for name in TYPES:
        assert list(map(repr, found[name])) == [repr(expected(payload, name)) for payload in payloads]


@pytest.mark.parametrize("value", [True, "1", 1.5, 1.0, 2**63, [1], {"whole": 1}])
def test_a_whole_number_column_has_nothing_else(value: object) -> None:
    found = columns_of([{"whole": value}, {"whole": 7}])["whole"]
    assert found == [None, 7]


def test_a_whole_number_beyond_the_doubles_is_null() -> None:
    assert columns_of([{"real": 10**400}, {"real": 1}])["real"] == [None, 1.0]


def test_a_payload_of_several_lines_is_one_row() -> None:
    table = pa.table({"payload": pa.chunked_array([['{"whole":\n1}', '{"whole":2}\n']], pa.string())})
    assert PayloadFields(TYPES).added_to(table)["field_whole"].to_pylist() == [1, 2]


def test_every_chunk_of_a_batch_is_read() -> None:
    table = pa.table({"payload": pa.chunked_array([['{"whole":1}'], [], ['{"whole":"x"}']], pa.string())})
    assert PayloadFields(TYPES).added_to(table)["field_whole"].to_pylist() == [1, None]
