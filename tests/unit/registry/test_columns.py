"""Typed columns give a model exactly the inputs that payload text does."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.parts.payload_fields import PayloadFields
from registry.columns import ColumnFeed
from registry.feed import InputFeed, PayloadInvalid
from registry.signature import Field, ModelInputs

COLUMNS = ModelInputs(
    "columns",
    (
        Field("amount", "float"),
        Field("age", "double", nullable=True),
        Field("hour", "int32", default=12),
        Field("orders", "int64", nullable=True, default=0),
        Field("country", "string"),
        Field("city", "string", nullable=True),
        Field("vip", "bool", default=False),
        Field('odd "name"', "float", rank=1, nullable=True),
    ),
)
TENSOR = ModelInputs(
    "tensor", (Field("b", "float"), Field("a", "float", nullable=True)), input_name="X", input_type="float"
)
MIXED = ModelInputs(
    "mixed",
    (Field("a", "float", input="X"), Field("s", "string", input="s"), Field("b", "float", default=1.0, input="X")),
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 3.5e38, 3.4028234663852886e38, 1e-50, "", "FR", '"age":null', "x" * 1_025, "é\n"]),
)


def payloads(inputs: ModelInputs) -> st.SearchStrategy[list[dict[str, Any]]]:
    names = st.sampled_from([*(field.name for field in inputs.fields), "other"])
    return st.lists(st.dictionaries(names, VALUES), min_size=1, max_size=12)


def same(inputs: ModelInputs, sent: list[dict[str, Any]], declared: list[tuple[str, Any]], repeated: bool) -> None:
    """Compare the columns as the archive writes them with one row per event."""
    texts = pa.array([json.dumps(payload, sort_keys=True, separators=(",", ":")) for payload in sent])
    table = pa.table({"payload": texts})
    archived = PayloadFields.of_first_rows(declared, table).added_to(table).combine_chunks().to_batches()[0]
    columns = {name.removeprefix("field_"): archived[name] for name in archived.schema.names if name != "payload"}
    if repeated:
        columns = {
            name: column.dictionary_encode() if column.type == pa.string() else column
            for name, column in columns.items()
        }
    feed, rows, refused = InputFeed(inputs), [], {}
    for place, payload in enumerate(sent):
        try:
            rows.append(feed.row(payload))
        except PayloadInvalid as invalid:
            refused[place] = invalid.violations
    for given_columns in ({}, columns):
        read = ColumnFeed(inputs).read(texts, given_columns)
        assert read.refused == refused
        assert read.fitting.tolist() == [place not in refused for place in range(len(sent))]
        if rows:
            expected = feed.inputs(rows)
            assert read.inputs.keys() == expected.keys()
            for name, value in expected.items():
                assert read.inputs[name].dtype == value.dtype
                assert read.inputs[name].shape == value.shape
                np.testing.assert_array_equal(read.inputs[name], value)
                if value.dtype.kind == "f":  # -0.0 equals 0.0
                    np.testing.assert_array_equal(np.signbit(read.inputs[name]), np.signbit(value))


def kinds(inputs: ModelInputs) -> list[tuple[str, Any]]:
    return [(field.name, field.kind) for field in inputs.fields]


@settings(max_examples=150, deadline=None)
@given(payloads(COLUMNS), st.booleans())
def test_named_inputs_are_those_of_rows(sent: list[dict[str, Any]], repeated: bool) -> None:
    same(COLUMNS, sent, kinds(COLUMNS), repeated)


@settings(max_examples=60, deadline=None)
@given(payloads(TENSOR), st.booleans())
def test_a_tensor_is_that_of_rows(sent: list[dict[str, Any]], repeated: bool) -> None:
    same(TENSOR, sent, kinds(TENSOR), repeated)


@settings(max_examples=60, deadline=None)
@given(payloads(MIXED), st.booleans())
def test_mixed_inputs_are_those_of_rows(sent: list[dict[str, Any]], repeated: bool) -> None:
    same(MIXED, sent, kinds(MIXED), repeated)


@settings(max_examples=60, deadline=None)
@given(payloads(COLUMNS))
def test_columns_of_another_type_are_read_from_the_text(sent: list[dict[str, Any]]) -> None:
    declared = [("amount", "int64"), ("age", "string"), ("hour", "double"), ("country", "float"), ("vip", "string")]
    same(COLUMNS, sent, declared, False)
