"""A model's inputs become fields, by its graph and its metadata."""

from collections.abc import Sequence
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from registry.inspection.inputs import read_inputs
from registry.inspection.metadata import ModelMetadata
from registry.signature import MAX_FIELDS, Field, SignatureInvalid

Shape = Sequence[int | str | None]


def model(inputs: dict[str, tuple[int, Shape]]) -> onnx.ModelProto:
    """A graph that takes `inputs` and passes the first on."""
    taken = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    given = helper.make_tensor_value_info("p", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", [next(iter(inputs))], ["p"])], "g", taken, [given])
    return helper.make_model(graph)


def named(*features: str, **more: Any) -> ModelMetadata:
    return ModelMetadata(features=features or None, **more)


def faults(made: onnx.ModelProto, metadata: ModelMetadata | None = None) -> tuple[str, ...]:
    with pytest.raises(SignatureInvalid) as refused:
        read_inputs(made, metadata)
    return refused.value.faults


TWO_COLUMNS = {"X": (TensorProto.FLOAT, (None, 2))}


def test_one_input_a_column_becomes_one_field_each_of_its_own_rank() -> None:
    inputs = read_inputs(
        model(
            {
                "amount": (TensorProto.FLOAT, (None, 1)),
                "country": (TensorProto.STRING, ("N", 1)),
                "age": (TensorProto.INT64, (None,)),
            }
        )
    )
    assert inputs.layout == "columns"
    assert inputs.fields == (Field("amount", "float"), Field("country", "string"), Field("age", "int64", rank=1))


def test_a_tensors_columns_are_named_by_the_features() -> None:
    inputs = read_inputs(model(TWO_COLUMNS), named("a", "b"))
    assert (inputs.layout, inputs.input_name, inputs.input_type) == ("tensor", "X", "float")
    assert inputs.fields == (Field("a", "float"), Field("b", "float"))


def test_a_tensor_of_open_width_has_as_many_columns_as_names() -> None:
    inputs = read_inputs(model({"X": (TensorProto.DOUBLE, (None, None))}), named("a", "b", "c"))
    assert [field.kind for field in inputs.fields] == ["double"] * 3


def test_a_single_column_is_a_field_unless_features_make_it_a_tensor() -> None:
    single = model({"amount": (TensorProto.FLOAT, (None, 1))})
    assert read_inputs(single).layout == "columns"
    assert read_inputs(single, named("a")).input_name == "amount"


def test_a_field_may_be_null_or_absent_when_it_is_declared_so() -> None:
    inputs = read_inputs(model(TWO_COLUMNS), named("a", "b", nullable=("a", "b"), defaults={"b": 2.5}))
    assert inputs.fields == (Field("a", "float", nullable=True), Field("b", "float", nullable=True, default=2.5))


def test_all_makes_every_field_nullable_that_has_a_missing_value() -> None:
    columns: dict[str, tuple[int, Shape]] = {
        "amount": (TensorProto.FLOAT, (None, 1)),
        "country": (TensorProto.STRING, (None, 1)),
        "age": (TensorProto.INT64, (None, 1)),
        "hour": (TensorProto.INT64, (None, 1)),
    }
    inputs = read_inputs(model(columns), named(nullable="all", defaults={"hour": 12}))
    assert {field.name: field.nullable for field in inputs.fields} == {
        "amount": True,
        "country": True,
        "age": False,
        "hour": True,
    }


@pytest.mark.parametrize(
    ("kind", "text", "default"),
    [
        (TensorProto.FLOAT, "2.5", 2.5),
        (TensorProto.INT64, "12", 12),
        (TensorProto.BOOL, "true", True),
        (TensorProto.STRING, "12", "12"),
    ],
)
def test_a_default_given_as_text_becomes_a_value_of_its_field(kind: int, text: str, default: object) -> None:
    inputs = read_inputs(model({"f": (kind, (None, 1))}), named(defaults={"f": text}))
    assert inputs.fields[0].default == default
    assert type(inputs.fields[0].default) is type(default)


@pytest.mark.parametrize("text", ["a dozen", "1.5", "nan", ""])
def test_a_default_that_is_no_value_of_its_field_is_refused(text: str) -> None:
    made = model({"f": (TensorProto.INT64, (None, 1))})
    assert faults(made, named(defaults={"f": text})) == ("the default of f is not a valid int64",)


def test_an_input_is_renamed_to_what_payloads_call_it() -> None:
    columns: dict[str, tuple[int, Shape]] = {
        "Amount__EUR_": (TensorProto.FLOAT, (None, 1)),
        "age": (TensorProto.INT64, (None,)),
    }
    declared = named(rename={"Amount (EUR)": "Amount__EUR_"}, nullable=("Amount (EUR)",), defaults={"age": 30})
    assert read_inputs(model(columns), declared).fields == (
        Field("Amount (EUR)", "float", nullable=True, input="Amount__EUR_"),
        Field("age", "int64", default=30, rank=1),
    )


def test_rules_may_use_the_models_own_name_of_a_renamed_input() -> None:
    made = model({"Amount__EUR_": (TensorProto.FLOAT, (None, 1))})
    declared = named(rename={"Amount (EUR)": "Amount__EUR_"}, nullable=("Amount__EUR_",))
    assert read_inputs(made, declared).fields[0].nullable


def test_a_column_of_a_tensor_is_renamed_too() -> None:
    inputs = read_inputs(model(TWO_COLUMNS), named("a", "b_", rename={"b": "b_"}))
    assert inputs.fields == (Field("a", "float"), Field("b", "float"))


def test_renaming_what_the_model_does_not_take_is_refused_with_the_closest_name() -> None:
    made = model({"Amount__EUR_": (TensorProto.FLOAT, (None, 1))})
    assert faults(made, named(rename={"Amount (EUR)": "amount_eur"})) == (
        "rename names amount_eur, which the model does not take; did you mean Amount__EUR_?",
    )


def test_two_fields_of_one_name_are_refused() -> None:
    columns: dict[str, tuple[int, Shape]] = {"a": (TensorProto.FLOAT, (None, 1)), "b": (TensorProto.FLOAT, (None, 1))}
    assert faults(model(columns), named(rename={"a": "b"})) == ("named twice: a",)


def test_an_input_with_an_initial_value_is_no_field() -> None:
    made = model({"amount": (TensorProto.FLOAT, (None, 1)), "weight": (TensorProto.FLOAT, (1,))})
    made.graph.initializer.append(helper.make_tensor("weight", TensorProto.FLOAT, (1,), [1.0]))
    assert [field.name for field in read_inputs(made).fields] == ["amount"]


def test_a_tensor_without_names_is_refused() -> None:
    assert faults(model(TWO_COLUMNS)) == (
        "no names for 2 columns of X: give the features, or put sira.features into the model",
    )


def test_every_fault_of_the_declared_names_is_named_at_once() -> None:
    declared = named("a", nullable=("z",), defaults={"y": 1}, rename={"x": "w"})
    assert faults(model(TWO_COLUMNS), declared) == (
        "1 feature names for the 2 columns of X: name each column of a tensor, and nothing else",
        "rename names w, which the model does not take",
        "nullable names z, which the model does not take",
        "default names y, which the model does not take",
    )


@pytest.mark.parametrize(
    ("kind", "shape", "reason"),
    [
        (TensorProto.FLOAT16, (None, 1), "is not a tensor of"),
        (TensorProto.FLOAT, (None, 3, 4), "has 3 dimensions"),
        (TensorProto.FLOAT, (), "has 0 dimensions"),
        (TensorProto.FLOAT, (1, 4), "takes 1 rows only"),
    ],
)
def test_inputs_that_are_no_rows_of_fields_are_refused(kind: int, shape: Shape, reason: str) -> None:
    (fault,) = faults(model({"X": (kind, shape)}), named("a", "b", "c", "d"))
    assert reason in fault


NUMBERS_AND_COUNTRY: dict[str, tuple[int, Shape]] = {
    "numbers": (TensorProto.FLOAT, (None, 2)),
    "country": (TensorProto.STRING, (None, 1)),
}


def test_a_tensor_beside_other_inputs_is_named_by_the_features_and_the_others_by_themselves() -> None:
    inputs = read_inputs(model(NUMBERS_AND_COUNTRY), named("v1", "v2"))
    assert (inputs.layout, inputs.input_name) == ("mixed", None)
    assert inputs.fields == (
        Field("v1", "float", input="numbers"),
        Field("v2", "float", input="numbers"),
        Field("country", "string", input="country"),
    )


def test_features_name_the_columns_of_several_tensors_in_the_order_of_the_graph() -> None:
    columns: dict[str, tuple[int, Shape]] = {
        "country": (TensorProto.STRING, (None,)),
        "numbers": (TensorProto.FLOAT, (None, None)),
        "codes": (TensorProto.INT64, (None, 2)),
    }
    inputs = read_inputs(model(columns), named("v1", "v2", "v3", "c1", "c2"))
    assert [(field.name, field.kind, field.input) for field in inputs.fields] == [
        ("country", "string", "country"),
        ("v1", "float", "numbers"),
        ("v2", "float", "numbers"),
        ("v3", "float", "numbers"),
        ("c1", "int64", "codes"),
        ("c2", "int64", "codes"),
    ]


def test_inputs_beside_a_tensor_are_renamed_and_nullable_like_any_other() -> None:
    declared = named("v1", "v2", rename={"Land": "country"}, nullable=("v2", "Land"))
    assert read_inputs(model(NUMBERS_AND_COUNTRY), declared).fields == (
        Field("v1", "float", input="numbers"),
        Field("v2", "float", nullable=True, input="numbers"),
        Field("Land", "string", nullable=True, input="country"),
    )


@pytest.mark.parametrize("features", [("v1",), ("v1", "v2", "country")])
def test_features_that_are_not_one_for_each_column_of_the_tensor_are_refused(features: tuple[str, ...]) -> None:
    (fault,) = faults(model(NUMBERS_AND_COUNTRY), named(*features))
    assert fault == f"{len(features)} feature names for the 2 columns of numbers: {NAME_EACH}"


NAME_EACH = "name each column of a tensor, and nothing else"


def test_two_tensors_of_open_width_are_refused() -> None:
    columns: dict[str, tuple[int, Shape]] = {
        "numbers": (TensorProto.FLOAT, (None, None)),
        "codes": (TensorProto.INT64, (None, None)),
    }
    assert faults(model(columns), named("a", "b")) == (
        "2 tensors without a fixed number of columns: export them with one",
    )


def test_a_column_of_a_tensor_may_not_have_the_name_of_another_input() -> None:
    assert faults(model(NUMBERS_AND_COUNTRY), named("v1", "country")) == ("named twice: country",)


def test_features_for_a_model_that_names_its_inputs_are_refused() -> None:
    made = model({"a": (TensorProto.FLOAT, (None, 1)), "b": (TensorProto.FLOAT, (None, 1))})
    assert faults(made, named("x", "y")) == (
        "this model names its own inputs (a, b): leave the features out, or rename the inputs",
    )


@pytest.mark.parametrize("width", [MAX_FIELDS + 1, 4_096])
def test_more_columns_than_a_payload_may_hold_are_refused(width: int) -> None:
    made = model({"X": (TensorProto.FLOAT, (None, width))})
    assert faults(made, named(*(f"v{n}" for n in range(width)))) == (f"{width} fields, not 1 to {MAX_FIELDS}",)


def test_names_that_no_request_could_hold_are_refused() -> None:
    made = model({"X": (TensorProto.FLOAT, (None, 1_000))})
    long = tuple(f"{n:0100}" for n in range(1_000))
    assert faults(made, named(*long)) == (
        "its fields make 105000 bytes of a request, not at most 65536: shorten names",
    )
    assert read_inputs(made, named(*long, nullable="all")).fields, "no request has to hold a field that may be absent"


def test_as_many_columns_as_a_payload_may_hold_are_taken() -> None:
    made = model({"X": (TensorProto.FLOAT, (None, MAX_FIELDS))})
    assert len(read_inputs(made, named(*(f"v{n}" for n in range(MAX_FIELDS)))).fields) == MAX_FIELDS
