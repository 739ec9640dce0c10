from typing import Any

import pytest

from edge.open_inference.events import read_events
from edge.open_inference.tensors import Tensor, TensorsInvalid

AMOUNT = Tensor("amount", 2, 1, [1.0, None])
COUNTRY = Tensor("country", 2, 1, ["FR", "SN"])


def events(*tensors: Tensor, fields: tuple[str, ...] = ("amount", "country"), **parameters: Any) -> Any:
    return read_events(tensors, parameters, product="p", fields=fields, new_event_id=lambda: "new")


def payloads(*tensors: Tensor, fields: tuple[str, ...] = ("amount", "country")) -> list[dict[str, Any]]:
    return [body["payload"] for body in events(*tensors, fields=fields)[0]]


def test_a_tensor_of_one_column_is_the_field_it_is_named_after() -> None:
    assert payloads(AMOUNT, COUNTRY) == [{"amount": 1.0, "country": "FR"}, {"amount": None, "country": "SN"}]


def test_the_columns_of_one_tensor_are_the_fields_in_the_models_order() -> None:
    assert payloads(Tensor("input", 1, 2, [1.0, 2.0]), fields=("a", "b")) == [{"a": 1.0, "b": 2.0}]


def test_a_wide_tensor_beside_named_inputs_has_the_fields_they_leave() -> None:
    wide = Tensor("numbers", 2, 2, [1.0, 2.0, 3.0, 4.0])
    assert payloads(COUNTRY, wide, fields=("a", "country", "b"))[1] == {"country": "SN", "a": 3.0, "b": 4.0}


def test_a_tensor_of_a_model_with_one_field_may_have_any_name() -> None:
    assert payloads(Tensor("input", 2, 1, [1.0, 2.0]), fields=("a",)) == [{"a": 1.0}, {"a": 2.0}]


def test_a_field_the_model_does_not_know_stays_in_the_payload() -> None:
    assert payloads(AMOUNT, Tensor("other", 2, 1, [1, 2]))[0] == {"amount": 1.0, "other": 1}


def test_event_ids_are_generated_and_said_to_be_when_absent() -> None:
    bodies, generated = events(AMOUNT)
    assert generated
    assert [body["event_id"] for body in bodies] == ["new", "new"]
    assert "routing_key" not in bodies[0]


def test_ids_come_from_inputs_of_their_name() -> None:
    ids = Tensor("event_id", 2, 1, ["e1", "e2"])
    bodies, generated = events(AMOUNT, ids, Tensor("routing_key", 2, 1, ["c1", "c2"]))
    assert not generated
    assert [(body["event_id"], body["routing_key"]) for body in bodies] == [("e1", "c1"), ("e2", "c2")]
    assert bodies[0]["payload"] == {"amount": 1.0}


def test_ids_come_from_the_parameters_when_no_input_has_them() -> None:
    bodies, generated = events(AMOUNT, event_id=["e1", "e2"])
    assert not generated
    assert [body["event_id"] for body in bodies] == ["e1", "e2"]


def test_one_text_is_enough_for_one_row() -> None:
    assert events(Tensor("amount", 1, 1, [1.0]), event_id="e1")[0][0]["event_id"] == "e1"


@pytest.mark.parametrize("given", ["e1", ["e1"], [1, 2], 7])
def test_ids_that_are_not_one_text_per_row_are_refused(given: object) -> None:
    with pytest.raises(TensorsInvalid, match=r"parameters\.event_id: must hold one text per row, 2 in all"):
        events(AMOUNT, event_id=given)


def test_an_input_named_event_id_is_a_field_of_a_model_that_has_such_a_field() -> None:
    assert payloads(Tensor("event_id", 1, 1, ["x"]), fields=("event_id",)) == [{"event_id": "x"}]


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ((AMOUNT, Tensor("country", 1, 1, ["FR"])), "the same number of rows"),
        ((AMOUNT, AMOUNT), "given twice: amount"),
        ((Tensor("a", 1, 2, [1, 2]), Tensor("b", 1, 2, [1, 2])), "only one input may have several columns"),
        ((Tensor("a", 1, 3, [1, 2, 3]),), "has 3 columns, the model takes 2"),
        ((AMOUNT, Tensor("routing_key", 2, 1, [1, 2])), "input routing_key: must be BYTES"),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(tensors: tuple[Tensor, ...], fault: str) -> None:
    with pytest.raises(TensorsInvalid, match=fault):
        events(*tensors)
