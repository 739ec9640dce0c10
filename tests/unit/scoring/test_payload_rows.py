"""A payload becomes a row of a model's input, or every reason why not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.signature import LARGEST_FLOAT, Field, Kind, Signature
from scoring.event import LONGEST_TEXT, EventRefused, Scalar
from scoring.signature import PayloadReader, Row

KINDS: tuple[Kind, ...] = ("string", "float", "double", "int32", "int64", "bool")


def columns(*fields: Field) -> PayloadReader:
    return PayloadReader(Signature("columns", fields, "p", "probability"))


def violations(reader: PayloadReader, payload: dict[str, Scalar]) -> dict[str, str]:
    with pytest.raises(EventRefused) as refused:
        reader.row(payload)
    return {v.pointer: v.detail for v in refused.value.violations}


def read(reader: PayloadReader, payload: dict[str, Scalar]) -> Row | list[str]:
    """The row, or where it is wrong."""
    try:
        return reader.row(payload)
    except EventRefused as refused:
        return [v.pointer for v in refused.violations]


ONE_OF_EACH = columns(*(Field(kind, kind) for kind in KINDS))


def test_a_row_follows_the_order_of_the_signature_not_of_the_payload() -> None:
    payload = {"bool": True, "int64": 4, "int32": 3, "double": 2, "float": 1.5, "string": "x", "not taken": [1]}
    row = ONE_OF_EACH.row(payload)  # type: ignore[arg-type]
    assert row == ("x", 1.5, 2.0, 3, 4, True)
    assert [type(value) for value in row] == [str, float, float, int, int, bool]


def test_every_wrong_field_is_named_at_once() -> None:
    payload: dict[str, Scalar] = {"bool": 1, "int64": 1.5, "int32": 1 << 31, "double": "1", "float": True}
    assert violations(ONE_OF_EACH, payload) == {
        "/payload/string": "is missing",
        "/payload/float": "must be a number",
        "/payload/double": "must be a number",
        "/payload/int32": "is out of range for an int32",
        "/payload/int64": "must be a whole number",
        "/payload/bool": "must be true or false",
    }


def test_null_is_no_value_of_a_field_that_is_not_nullable() -> None:
    payload = dict.fromkeys(KINDS)
    assert set(violations(ONE_OF_EACH, payload).values()) == {"must not be null"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "absent", "null"),
    [
        (Field("f", "string", nullable=True), "", ""),
        (Field("f", "string", nullable=True, default="unknown"), "unknown", "unknown"),
        (Field("f", "string", default="unknown"), "unknown", None),
        (Field("f", "float", nullable=True, default=3), 3.0, 3.0),
        (Field("f", "double", default=-1.5), -1.5, None),
        (Field("f", "int64", nullable=True, default=7), 7, 7),
        (Field("f", "bool", default=False), False, None),
    ],
)
def test_an_absent_or_null_field_takes_its_default_where_the_signature_allows(
    field: Field, absent: object, null: object
) -> None:
    reader = columns(field)
    assert reader.row({}) == (absent,)
    if null is None:
        assert violations(reader, {"f": None}) == {"/payload/f": "must not be null"}
    else:
        assert reader.row({"f": None}) == (null,)


def test_rows_with_a_missing_number_are_equal_so_that_they_are_cached() -> None:
    reader = columns(Field("f", "float", nullable=True), Field("g", "double", nullable=True))
    first, second = reader.row({}), reader.row({"f": None})
    assert math.isnan(first[0])
    assert first == second
    assert hash(first) == hash(second)


def test_minus_zero_and_zero_are_the_same_row() -> None:
    reader = columns(Field("f", "float"), Field("d", "double"))
    row = reader.row({"f": -0.0, "d": -0.0})
    assert [math.copysign(1, value) for value in row] == [1.0, 1.0]


def test_a_whole_number_is_the_same_row_as_its_float() -> None:
    reader = columns(Field("f", "float"))
    assert reader.row({"f": 3}) == reader.row({"f": 3.0})
    assert type(reader.row({"f": 3})[0]) is float


@pytest.mark.parametrize(
    ("kind", "smallest", "largest"),
    [
        ("int32", -(1 << 31), (1 << 31) - 1),
        ("int64", -(1 << 63), (1 << 63) - 1),
        ("float", -LARGEST_FLOAT, LARGEST_FLOAT),
        ("float", -int(LARGEST_FLOAT), int(LARGEST_FLOAT)),
        ("double", -1.7976931348623157e308, 1.7976931348623157e308),
        ("double", -int(1.7976931348623157e308), int(1.7976931348623157e308)),
    ],
)
def test_the_range_of_a_number_is_its_type_s(kind: Kind, smallest: float, largest: float) -> None:
    reader = columns(Field("n", kind))
    feed = reader.feed([reader.row({"n": smallest}), reader.row({"n": largest})])
    assert np.isfinite(feed["n"]).all()
    below = smallest * 2 if isinstance(smallest, float) and kind == "float" else int(smallest) * 2
    above = largest * 2 if isinstance(largest, float) and kind == "float" else int(largest) * 2
    for value in (below, above):
        assert list(violations(reader, {"n": value})) == ["/payload/n"]


@given(st.sampled_from(KINDS), st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_any_value_makes_a_finite_row_or_a_reason(kind: Kind, value: Scalar) -> None:
    reader = columns(Field("f", kind))
    found = read(reader, {"f": value})
    if isinstance(found, list):
        assert found == ["/payload/f"]
    elif kind not in ("string", "bool"):
        assert np.isfinite(reader.feed([found])["f"]).all()


@given(
    st.sampled_from(["float", "double"]),
    st.integers(1000, 1030),
    st.integers(-3, 3),
    st.sampled_from([-1, 1]),
)
def test_huge_whole_numbers_fit_or_are_refused_with_a_reason(kind: Kind, power: int, near: int, sign: int) -> None:
    reader = columns(Field("f", kind))
    found = read(reader, {"f": sign * (2**power + near)})
    assert isinstance(found, tuple) or found == ["/payload/f"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    reader = columns(Field("f", "float", nullable=True), Field("d", "double"))
    assert violations(reader, {"f": value, "d": value}).keys() == {"/payload/f", "/payload/d"}


def test_text_of_1024_characters_is_taken_and_of_1025_is_not() -> None:
    reader = columns(Field("s", "string"))
    assert reader.row({"s": "é" * LONGEST_TEXT}) == ("é" * LONGEST_TEXT,)
    assert violations(reader, {"s": "é" * (LONGEST_TEXT + 1)}) == {"/payload/s": "must be at most 1024 characters long"}


def test_a_field_name_is_a_json_pointer_part() -> None:
    assert violations(columns(Field("a/b~c", "float")), {}) == {"/payload/a~1b~0c": "is missing"}


def test_columns_are_fed_one_input_a_field_in_its_own_type_and_rank() -> None:
    reader = columns(Field("s", "string"), Field("f", "float", rank=1), Field("i", "int64"), Field("b", "bool"))
    rows = [
        reader.row({"s": "x", "f": 1, "i": 2, "b": True}),
        reader.row({"s": "y", "f": 0.5, "i": -2, "b": False}),
    ]
    feed = reader.feed(rows)
    assert {name: (values.dtype, values.shape) for name, values in feed.items()} == {
        "s": (np.dtype(object), (2, 1)),
        "f": (np.dtype(np.float32), (2,)),
        "i": (np.dtype(np.int64), (2, 1)),
        "b": (np.dtype(bool), (2, 1)),
    }
    assert feed["i"].tolist() == [[2], [-2]]


def test_a_tensor_is_fed_whole_with_fields_in_column_order() -> None:
    fields = (Field("b", "float"), Field("a", "float", nullable=True))
    reader = PayloadReader(Signature("tensor", fields, "p", "probabilities", input_name="features", input_type="float"))
    feed = reader.feed([reader.row({"a": 1, "b": 2}), reader.row({"b": 3})])
    assert feed.keys() == {"features"}
    assert feed["features"].dtype == np.float32
    np.testing.assert_array_equal(feed["features"], [[2, 1], [3, np.nan]])
