"""Probe rows: which values they hold, that every field gets its share, and that they are the same each time."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.feed import InputFeed
from registry.inspection.probe_rows import MAX_PROBE_ROWS, ProbeRow, probe_rows
from registry.inspection.probe_values import FieldValues
from registry.signature import Field, Kind, ModelInputs, Value


def rows(*fields: Field, values: Sequence[FieldValues] = ()) -> list[ProbeRow]:
    return probe_rows(ModelInputs("columns", fields), values or [FieldValues()] * len(fields))


def seen(found: Sequence[ProbeRow], name: str, *areas: str) -> set[Value]:
    return {row.payload[name] for row in found if name in row.payload and row.area in areas}


SPLITS = "thresholds and categories"


def test_each_threshold_comes_with_the_next_float_below_and_above_it() -> None:
    threshold = float(np.float32(0.1))
    found = rows(Field("f", "float"), values=[FieldValues((threshold,))])
    near = {threshold, *(float(np.nextafter(np.float32(0.1), np.float32(side))) for side in (-np.inf, np.inf))}
    assert seen(found, "f", SPLITS) == {0.0, 1.0, *near}


def test_a_threshold_of_a_double_comes_with_the_neighbours_of_both_precisions() -> None:
    found = seen(rows(Field("f", "double"), values=[FieldValues((0.1,))]), "f", SPLITS)
    assert {0.1, math.nextafter(0.1, 0), math.nextafter(0.1, 1), float(np.float32(0.1))} <= found


def test_a_threshold_of_a_whole_number_comes_with_the_whole_numbers_around_it() -> None:
    assert seen(rows(Field("f", "int64"), values=[FieldValues((3.5,))]), "f", SPLITS) == {0, 1, 2, 3, 4}
    assert seen(rows(Field("f", "int64"), values=[FieldValues((5.0,))]), "f", SPLITS) == {0, 1, 4, 5, 6}


def test_every_category_that_the_graph_knows_is_tried_and_one_that_it_does_not() -> None:
    fields = (Field("country", "string"), Field("mcc", "int64"), Field("amount", "float"))
    values = [FieldValues(categories=("FR", "SN", "US")), FieldValues(categories=(1, 5, 9)), FieldValues()]
    found = rows(*fields, values=values)
    assert seen(found, "country", "zeros and ones", SPLITS) == {"FR", "SN", "US"}
    assert seen(found, "mcc", "zeros and ones", SPLITS, "magnitudes") == {1, 5, 9}
    unknown = [row for row in found if row.area == "unknown categories"]
    assert [row.fields for row in unknown] == [("country",), ("mcc",)]
    assert unknown[0].payload["country"] not in ("FR", "SN", "US")
    assert unknown[1].payload["mcc"] == 10


def test_an_unknown_category_is_none_of_the_known_however_they_are_named() -> None:
    names = ("not a category", "not a category 1")
    unknown = seen(rows(Field("c", "string"), values=[FieldValues(categories=names)]), "c", "unknown categories")
    assert unknown == {"not a category 2"}


def test_a_category_at_the_end_of_its_type_has_an_unknown_one_before_it() -> None:
    values = [FieldValues(categories=(5, (1 << 63) - 1))]
    assert seen(rows(Field("c", "int64"), values=values), "c", "unknown categories") == {4}


def test_each_field_that_may_be_absent_is_absent_once_alone_and_once_with_all_others() -> None:
    found = rows(Field("a", "float"), Field("b", "float", nullable=True), Field("c", "string", default="x"))
    blanks = [set(row.payload) for row in found if row.area == "blanks"]
    assert blanks == [{"a", "c"}, {"a", "b"}, {"a"}]
    assert not [row for row in rows(Field("a", "float")) if row.area == "blanks"]


def test_numbers_grow_together_against_each_other_and_alone() -> None:
    found = [row for row in rows(Field("a", "float"), Field("b", "float")) if row.area == "magnitudes"]
    pairs = {(row.payload["a"], row.payload["b"]) for row in found}
    assert {(1e12, 1e12), (-1e12, -1e12), (1e12, -1e12), (-1e12, 1e12), (1e6, 0.0), (0.0, -1e6)} <= pairs


@pytest.mark.parametrize("columns", [1, 300, 2_048])
def test_more_columns_or_thresholds_than_rows_still_give_every_column_its_share(columns: int) -> None:
    fields = [Field(f"v{n}", "float", nullable=True) for n in range(columns)]
    many = FieldValues(tuple(float(n) for n in range(10, 3_000)))
    found = probe_rows(ModelInputs("columns", tuple(fields)), [many] * columns)
    assert len(found) <= MAX_PROBE_ROWS
    for field in (fields[0], fields[-1]):
        assert len(seen(found, field.name, SPLITS)) > 1_000
        assert max(value for value in seen(found, field.name, SPLITS)) >= 2_999  # type: ignore[type-var]
        assert any(field.name not in row.payload for row in found if row.area == "blanks")
        assert any(abs(row.payload[field.name]) == 1e6 for row in found if row.area == "magnitudes")  # type: ignore[arg-type]


def test_the_rows_are_the_same_every_time() -> None:
    fields = (Field("a", "float", nullable=True), Field("c", "string"))
    values = [FieldValues((1.0, 2.0)), FieldValues(categories=("x", "y"))]
    assert rows(*fields, values=values) == rows(*fields, values=values)


KINDS: tuple[Kind, ...] = ("string", "float", "double", "int32", "int64", "bool")
ANY_FIELD = st.builds(
    lambda kind, default: Field(kind, kind, nullable=kind in ("float", "string") and default),
    st.sampled_from(KINDS),
    st.booleans(),
)
ANY_VALUES = st.builds(
    lambda thresholds, categories: FieldValues(tuple(thresholds), tuple(categories)),
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers().map(float), max_size=4),
    st.lists(st.text(max_size=3) | st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=4),
)


@settings(max_examples=200)
@given(ANY_FIELD, ANY_VALUES)
def test_every_row_is_a_payload_that_the_feed_takes(field: Field, values: FieldValues) -> None:
    feed = InputFeed(ModelInputs("columns", (field,)))
    for row in rows(field, values=[values]):
        feed.row(row.payload)
