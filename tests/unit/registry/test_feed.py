"""A payload becomes a row of a model's input, or every reason why not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.feed import Feed, PayloadInvalid, Row
from registry.signature import MAX_FLOAT, MAX_TEXT_LENGTH, Field, Kind, Signature

Scalar = str | int | float | bool | None

KINDS: tuple[Kind, ...] = ("string", "float", "double", "int32", "int64", "bool")


def columns(*fields: Field) -> Feed:
    return Feed(Signature("columns", fields, "p", "probability"))


def violations(feed: Feed, payload: dict[str, Scalar]) -> dict[str, str]:
    with pytest.raises(PayloadInvalid) as refused:
        feed.row(payload)
    return {v.pointer: v.detail for v in refused.value.violations}


def read(feed: Feed, payload: dict[str, Scalar]) -> Row | list[str]:
    """The row, or where it is wrong."""
    try:
        return feed.row(payload)
    except PayloadInvalid as refused:
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
        "/string": "is missing",
        "/float": "must be a number",
        "/double": "must be a number",
        "/int32": "is out of range for an int32",
        "/int64": "must be a whole number",
        "/bool": "must be true or false",
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
    feed = columns(field)
    assert feed.row({}) == (absent,)
    if null is None:
        assert violations(feed, {"f": None}) == {"/f": "must not be null"}
    else:
        assert feed.row({"f": None}) == (null,)


def test_rows_with_a_missing_number_are_equal_so_that_they_are_cached() -> None:
    feed = columns(Field("f", "float", nullable=True), Field("g", "double", nullable=True))
    first, second = feed.row({}), feed.row({"f": None})
    assert math.isnan(first[0])
    assert first == second
    assert hash(first) == hash(second)


def test_minus_zero_and_zero_are_the_same_row() -> None:
    feed = columns(Field("f", "float"), Field("d", "double"))
    row = feed.row({"f": -0.0, "d": -0.0})
    assert [math.copysign(1, value) for value in row] == [1.0, 1.0]


def test_a_whole_number_is_the_same_row_as_its_float() -> None:
    feed = columns(Field("f", "float"))
    assert feed.row({"f": 3}) == feed.row({"f": 3.0})
    assert type(feed.row({"f": 3})[0]) is float


@pytest.mark.parametrize(
    ("kind", "smallest", "largest"),
    [
        ("int32", -(1 << 31), (1 << 31) - 1),
        ("int64", -(1 << 63), (1 << 63) - 1),
        ("float", -MAX_FLOAT, MAX_FLOAT),
        ("float", -int(MAX_FLOAT), int(MAX_FLOAT)),
        ("double", -1.7976931348623157e308, 1.7976931348623157e308),
        ("double", -int(1.7976931348623157e308), int(1.7976931348623157e308)),
    ],
)
def test_the_range_of_a_number_is_its_type_s(kind: Kind, smallest: float, largest: float) -> None:
    feed = columns(Field("n", kind))
    inputs = feed.inputs([feed.row({"n": smallest}), feed.row({"n": largest})])
    assert np.isfinite(inputs["n"]).all()
    below = smallest * 2 if isinstance(smallest, float) and kind == "float" else int(smallest) * 2
    above = largest * 2 if isinstance(largest, float) and kind == "float" else int(largest) * 2
    for value in (below, above):
        assert list(violations(feed, {"n": value})) == ["/n"]


@given(st.sampled_from(KINDS), st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_any_value_makes_a_finite_row_or_a_reason(kind: Kind, value: Scalar) -> None:
    feed = columns(Field("f", kind))
    found = read(feed, {"f": value})
    if isinstance(found, list):
        assert found == ["/f"]
    elif kind not in ("string", "bool"):
        assert np.isfinite(feed.inputs([found])["f"]).all()


@given(
    st.sampled_from(["float", "double"]),
    st.integers(1000, 1030),
    st.integers(-3, 3),
    st.sampled_from([-1, 1]),
)
def test_huge_whole_numbers_fit_or_are_refused_with_a_reason(kind: Kind, power: int, near: int, sign: int) -> None:
    feed = columns(Field("f", kind))
    found = read(feed, {"f": sign * (2**power + near)})
    assert isinstance(found, tuple) or found == ["/f"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    feed = columns(Field("f", "float", nullable=True), Field("d", "double"))
    assert violations(feed, {"f": value, "d": value}).keys() == {"/f", "/d"}


def test_text_of_1024_characters_is_taken_and_of_1025_is_not() -> None:
    feed = columns(Field("s", "string"))
    assert feed.row({"s": "é" * MAX_TEXT_LENGTH}) == ("é" * MAX_TEXT_LENGTH,)
    assert violations(feed, {"s": "é" * (MAX_TEXT_LENGTH + 1)}) == {"/s": "must be at most 1024 characters long"}


def test_a_field_name_is_a_json_pointer_part() -> None:
    assert violations(columns(Field("a/b~c", "float")), {}) == {"/a~1b~0c": "is missing"}


def test_columns_are_fed_one_input_a_field_in_its_own_type_and_rank() -> None:
    feed = columns(Field("s", "string"), Field("f", "float", rank=1), Field("i", "int64"), Field("b", "bool"))
    rows = [
        feed.row({"s": "x", "f": 1, "i": 2, "b": True}),
        feed.row({"s": "y", "f": 0.5, "i": -2, "b": False}),
    ]
    inputs = feed.inputs(rows)
    assert {name: (values.dtype, values.shape) for name, values in inputs.items()} == {
        "s": (np.dtype(object), (2, 1)),
        "f": (np.dtype(np.float32), (2,)),
        "i": (np.dtype(np.int64), (2, 1)),
        "b": (np.dtype(bool), (2, 1)),
    }
    assert inputs["i"].tolist() == [[2], [-2]]


def test_a_tensor_is_fed_whole_with_fields_in_column_order() -> None:
    fields = (Field("b", "float"), Field("a", "float", nullable=True))
    feed = Feed(Signature("tensor", fields, "p", "probabilities", input_name="features", input_type="float"))
    inputs = feed.inputs([feed.row({"a": 1, "b": 2}), feed.row({"b": 3})])
    assert inputs.keys() == {"features"}
    assert inputs["features"].dtype == np.float32
    np.testing.assert_array_equal(inputs["features"], [[2, 1], [3, np.nan]])


def test_a_field_is_fed_to_the_input_it_names() -> None:
    feed = columns(Field("Amount (EUR)", "float", input="Amount__EUR_"), Field("Größe", "float", input="Gr__e", rank=1))
    inputs = feed.inputs([feed.row({"Amount (EUR)": 2, "Größe": 3})])
    assert {name: values.tolist() for name, values in inputs.items()} == {"Amount__EUR_": [[2.0]], "Gr__e": [3.0]}
    assert violations(feed, {"Amount__EUR_": 2, "Größe": 3})["/Amount (EUR)"].startswith("is missing")


def test_fields_of_one_input_are_the_columns_of_its_tensor_beside_other_inputs() -> None:
    fields = (
        Field("country", "string", input="country"),
        Field("v1", "float", input="numbers"),
        Field("a", "string", input="codes"),
        Field("v2", "float", input="numbers", nullable=True),
        Field("b", "string", input="codes"),
        Field("age", "int64", input="age", rank=1),
    )
    feed = Feed(Signature("mixed", fields, "p", "probability"))
    rows = [
        feed.row({"country": "US", "v1": 1, "v2": 2, "a": "x", "b": "y", "age": 30}),
        feed.row({"country": "SN", "v1": 3, "a": "z", "b": "", "age": 40}),
    ]
    inputs = feed.inputs(rows)
    assert inputs.keys() == {"country", "numbers", "codes", "age"}
    assert inputs["country"].tolist() == [["US"], ["SN"]]
    assert inputs["numbers"].dtype == np.float32
    np.testing.assert_array_equal(inputs["numbers"], [[1, 2], [3, np.nan]])
    assert inputs["codes"].tolist() == [["x", "y"], ["z", ""]]
    assert inputs["age"].tolist() == [30, 40]


@pytest.mark.parametrize(
    ("layout", "positive", "value"),
    [
        ("probabilities", 1, np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0000001]], np.float32)),
        ("probabilities", 0, np.array([[0.1, 0.9], [0.8, 0.2], [1.0000001, 0.0]], np.float32)),
        ("zipmap", "fraud", [{"fraud": 0.1, "no": 0.9}, {"fraud": 0.8, "no": 0.2}, {"fraud": 1.0000001, "no": 0.0}]),
        ("probability", 1, np.array([[0.1], [0.8], [1.0000001]], np.float32)),
        ("probability", 1, np.array([0.1, 0.8, 1.0000001])),
    ],
)
def test_every_output_layout_gives_one_probability_per_row(layout: str, positive: int | str, value: object) -> None:
    feed = Feed(Signature("columns", (Field("f", "float"),), "p", layout, positive))  # type: ignore[arg-type]
    scores = feed.scores(value, 3)
    assert (scores.dtype, scores.shape) == (np.float64, (3,))
    assert scores[:2] == pytest.approx([0.1, 0.8])
    assert scores[2] == 1.0


def test_an_output_of_another_number_of_rows_is_an_error() -> None:
    feed = columns(Field("f", "float"))
    with pytest.raises(ValueError, match="reshape"):
        feed.scores(np.zeros((3, 1)), 2)


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("Amount__EUR_", "Amount (EUR)"),
        ("amount", "Amount"),
        ("ip_address", "ip address"),
        ("transaction_amount", "transaction_amont"),
    ],
)
def test_a_missing_field_is_named_with_the_closest_field_that_was_sent(field: str, sent: str) -> None:
    feed = columns(Field(field, "float"), Field("other", "float"))
    assert violations(feed, {"unrelated": 7, sent: 4111, "other": 1}) == {
        f"/{field}": f"is missing; the payload has {sent} instead"
    }


def test_a_field_that_the_model_takes_is_not_offered_for_a_missing_one() -> None:
    feed = columns(Field("amount_1", "float"), Field("amount_2", "float"))
    assert violations(feed, {"amount_2": 1}) == {"/amount_1": "is missing"}


def test_thousands_of_hostile_names_are_compared_with_a_few_fields_only() -> None:
    feed = columns(*(Field(f"field {n}", "float") for n in range(2_000)))
    found = violations(feed, {f"Field {n}\x1b{'x' * 100}": n for n in range(2_000)} | {"FIELD_0": 1})
    assert len(found) == 2_000
    assert sum("instead" in detail for detail in found.values()) <= 4
    assert all(detail.isprintable() for detail in found.values())


def test_a_null_says_how_to_register_a_model_that_can_score_it() -> None:
    fields = (Field("amount", "float"), Field("country", "string"), Field("age", "int64"))
    payload = dict.fromkeys(("amount", "country", "age"))
    trees = Feed(Signature("columns", fields, "p", "probability", handles_missing=True))
    assert violations(trees, payload) == {  # type: ignore[arg-type]
        "/amount": "must not be null; if the model was trained with missing values, register it with --nullable amount",
        "/country": "must not be null",
        "/age": "must not be null",
    }
    assert violations(columns(*fields), payload)["/amount"] == "must not be null"  # type: ignore[arg-type]
