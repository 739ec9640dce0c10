"""Rows of input tensors become events, as /v1/infer takes them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge.open_inference.tensors import Tensor, TensorsInvalid

# Beside the model's fields a request may carry these, one per row.
ID_INPUTS = ("event_id", "routing_key")

_ROUTING = "routing_key"


def read_events(
    tensors: Sequence[Tensor],
    parameters: Mapping[str, Any],
    *,
    product: str,
    fields: Sequence[str],
    new_event_id: Callable[[], str],
) -> tuple[list[dict[str, Any]], bool]:
    """The bodies of n events, and whether their event ids were generated. `fields` are the model's, in its order.

    A tensor of one column is the field it is named after. One tensor may be wider: its columns are the fields that no
    other tensor names, in the model's order. `event_id` and `routing_key` are taken from BYTES inputs of these names,
    else from the request's parameters: a list with one text per row, or a text when there is one row.
    Raises TensorsInvalid with every fault.
    """
    faults: list[str] = []
    rows = tensors[0].rows
    if any(tensor.rows != rows for tensor in tensors):
        faults.append("all inputs must have the same number of rows")
    names = [tensor.name for tensor in tensors]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        faults.append(f"given twice: {', '.join(twice)}")
    if faults:
        raise TensorsInvalid(faults)
    ids = {name: _ids(name, tensors, parameters, rows, fields, faults) for name in ID_INPUTS}
    columns = _columns([t for t in tensors if t.name not in ID_INPUTS or t.name in fields], fields, faults)
    if faults:
        raise TensorsInvalid(faults)
    event_ids = ids["event_id"]
    generated = event_ids is None
    bodies: list[dict[str, Any]] = []
    for row in range(rows):
        body = {
            "event_id": new_event_id() if event_ids is None else event_ids[row],
            "product": product,
            "payload": {name: values[row] for name, values in columns.items()},
        }
        if (keys := ids[_ROUTING]) is not None:
            body[_ROUTING] = keys[row]
        bodies.append(body)
    return bodies, generated


def _ids(
    name: str,
    tensors: Sequence[Tensor],
    parameters: Mapping[str, Any],
    rows: int,
    fields: Sequence[str],
    faults: list[str],
) -> list[Any] | None:
    """One id per row, or None when the request gives none."""
    for tensor in tensors:
        if tensor.name == name and name not in fields:
            if tensor.columns != 1 or not all(isinstance(value, str) for value in tensor.values):
                faults.append(f"input {name}: must be BYTES of shape [{rows}]")
                return None
            return list(tensor.values)
    given = parameters.get(name)
    if given is None:
        return None
    texts = given if isinstance(given, list) else [given]
    if len(texts) != rows or not all(isinstance(text, str) for text in texts):
        faults.append(f"parameters.{name}: must hold one text per row, {rows} in all")
        return None
    return texts


def _columns(tensors: Sequence[Tensor], fields: Sequence[str], faults: list[str]) -> dict[str, list[Any]]:
    """The values of each named field, one per row."""
    wide = [t for t in tensors if t.columns > 1 or (len(tensors) == 1 and len(fields) == 1 and t.name not in fields)]
    columns = {tensor.name: tensor.column(0) for tensor in tensors if tensor not in wide}
    if not wide:
        return columns
    left = [field for field in fields if field not in columns]
    if len(wide) > 1:
        faults.append(f"{', '.join(tensor.name for tensor in wide)}: only one input may have several columns")
    elif wide[0].columns != len(left):
        faults.append(f"input {wide[0].name}: has {wide[0].columns} columns, the model takes {len(left)}")
    else:
        columns |= {field: wide[0].column(place) for place, field in enumerate(left)}
    return columns
