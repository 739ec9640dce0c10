"""What a signature may say, and what it makes of absent fields."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.signature import Field, Signature, SignatureInvalid, fits, warm_up_rows

COLUMNS = Signature(
    layout="columns",
    fields=(
        Field("amount", "float"),
        Field("country", "string", nullable=True),
        Field("age_days", "int64", default=0, rank=1),
    ),
    output_name="probabilities",
    output_layout="zipmap",
    positive="fraud",
)
TENSOR = Signature(
    layout="tensor",
    fields=(Field("v1", "float"), Field("v2", "float", nullable=True)),
    output_name="probabilities",
    output_layout="probabilities",
    positive=1,
    input_name="X",
    input_type="float",
)


@pytest.mark.parametrize("signature", [COLUMNS, TENSOR])
def test_a_signature_survives_json(signature: Signature) -> None:
    assert Signature.from_json(json.loads(json.dumps(signature.to_json()))) == signature


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SignatureInvalid) as refused:
        Signature(
            layout="tensor",
            fields=(Field("a", "int64", nullable=True), Field("a", "int64", default=1.5), Field("", "string")),
            output_name="p",
            output_layout="probabilities",
            positive=2,
        )
    assert refused.value.faults == (
        "a is nullable, but int64 has no missing value: set a default",
        "the default of a is not a valid int64",
        "a field name has 0 characters, not 1 to 128",
        "named twice: a",
        "a tensor needs input_name and input_type",
        "the positive column of two probabilities must be 0 or 1",
    )


def test_a_tensor_has_fields_of_one_type_only() -> None:
    with pytest.raises(SignatureInvalid, match="every field of a float tensor must be float"):
        Signature("tensor", (Field("a", "double"),), "p", "probability", input_name="X", input_type="float")


def test_columns_have_no_input_of_their_own() -> None:
    with pytest.raises(SignatureInvalid, match="no input_name"):
        Signature("columns", (Field("a", "double"),), "p", "probability", input_name="X", input_type="float")


def test_a_model_without_a_field_is_none() -> None:
    with pytest.raises(SignatureInvalid, match="0 fields, not 1 to 2048"):
        Signature("columns", (), "p", "probability")


@pytest.mark.parametrize("text", ["a\x00", "\x1b[31m", "a\nb", "\ud800"])
def test_text_that_cannot_be_stored_or_shown_is_refused(text: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        Signature("columns", (Field(text, "string", default=text),), text, "probability")
    assert len(refused.value.faults) == 3
    str(refused.value).encode()


@pytest.mark.parametrize("stored", [None, [], {}, {"layout": "rows"}, {**TENSOR.to_json(), "fields": [{"name": "a"}]}])
def test_json_of_another_shape_is_refused(stored: object) -> None:
    with pytest.raises(SignatureInvalid):
        Signature.from_json(stored)


def test_an_absent_field_is_its_default_or_the_models_missing_value() -> None:
    assert Field("a", "float", default=3.0).missing == 3.0
    assert Field("a", "string", nullable=True).missing == ""
    missing = Field("a", "float", nullable=True).missing
    assert isinstance(missing, float)
    assert math.isnan(missing)


@pytest.mark.parametrize(
    ("field", "required"),
    [
        (Field("a", "float"), True),
        (Field("a", "float", nullable=True), False),
        (Field("a", "int64", default=0), False),
        (Field("a", "bool", default=False), False),
        (Field("a", "string", default=""), False),
    ],
)
def test_a_field_is_required_unless_it_is_nullable_or_has_a_default(field: Field, required: bool) -> None:
    assert field.required is required


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("float", 1, True),
        ("float", True, False),
        ("float", math.nan, False),
        ("double", math.inf, False),
        ("float", 3.5e38, False),
        ("double", 3.5e38, True),
        ("float", 10**400, False),
        ("double", 10**400, False),
        ("int64", 1.0, False),
        ("int64", 2**63 - 1, True),
        ("int64", 2**63, False),
        ("int64", -(2**63), True),
        ("int32", 2**31, False),
        ("bool", 1, False),
        ("bool", False, True),
        ("string", "", True),
        ("string", 1, False),
    ],
)
def test_a_value_fits_a_kind_only_when_the_model_can_hold_it(kind: str, value: object, expected: bool) -> None:
    assert fits(kind, value) is expected  # type: ignore[arg-type]


@given(st.sampled_from(["float", "double", "int32", "int64"]), st.integers() | st.floats())
def test_any_number_has_an_answer(kind: str, value: float) -> None:
    assert fits(kind, value) in (True, False)  # type: ignore[arg-type]


def test_warm_up_rows_are_zeros_ones_and_only_what_is_required() -> None:
    assert warm_up_rows(COLUMNS) == [
        {"amount": 0.0, "country": "", "age_days": 0},
        {"amount": 1.0, "country": "1", "age_days": 1},
        {"amount": 0.0},
    ]
