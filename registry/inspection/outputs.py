"""Find the output of a binary classifier that holds the fraud probability.

What a graph declares about its outputs is often wrong or missing (LightGBM's label of shape (1,), CatBoost's maps), so
this looks at the values of a trial run.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from registry.signature import ModelOutput, SignatureInvalid

FRAUD_LABELS = frozenset({"1", "fraud", "fraudulent", "positive", "true", "yes"})
ClassLabel = int | str


def choose_output(
    outputs: Mapping[str, Any],
    rows: int,
    *,
    labels: tuple[ClassLabel, ...] | None = None,
    positive: str | None = None,
    wanted: str | None = None,
) -> ModelOutput:
    """Return the output that holds P(fraud) of each of `rows` rows. Raises SignatureInvalid.

    `labels` are the graph's class labels in column order, `positive` the label declared to mean fraud, `wanted` the
    output declared to hold the probability.
    """
    if wanted is not None and wanted not in outputs:
        raise SignatureInvalid([f"output {wanted} is not an output of the model, which are {', '.join(outputs)}"])
    candidates = {name: value for name, value in outputs.items() if wanted in (None, name)}
    pairs = {name: value for name, value in candidates.items() if _is_pairs(value, rows)}
    singles = {name: value for name, value in candidates.items() if _is_singles(value, rows)}
    if wanted is None and not pairs and labels and (of_class := _class_outputs(singles, labels)):
        return ModelOutput(of_class[_positive_label(labels, positive)], "probability", 1)
    found = pairs or singles
    if len(found) != 1:
        raise SignatureInvalid([_not_one(found, outputs, rows)])
    name, value = next(iter(found.items()))
    if isinstance(value, list):
        return ModelOutput(name, "zipmap", _positive_label(tuple(value[0]), positive))
    if name in singles:
        return ModelOutput(name, "probability", 1)
    return ModelOutput(name, "probabilities", _positive_column(labels, positive, outputs))


def _class_outputs(names: Iterable[str], labels: Sequence[ClassLabel]) -> dict[ClassLabel, str] | None:
    """Return the output of each class as skl2onnx names them with zipmap="columns": i0 and i1, or sfraud and sgood.

    Classes that were floats have names such as s1.0, and are whole numbers in the graph.
    """
    listed = set(names)
    found = {
        label: name
        for label in labels
        for name in (f"i{label}", f"s{label}", *([f"s{label:.1f}"] if isinstance(label, int) else []))
        if name in listed
    }
    return found if set(found) == set(labels) and set(found.values()) == listed else None


def _is_pairs(value: Any, rows: int) -> bool:
    if isinstance(value, list):
        return len(value) == rows and all(isinstance(row, dict) and len(row) == 2 for row in value)
    return _is_floating(value) and value.shape == (rows, 2)


def _is_singles(value: Any, rows: int) -> bool:
    return _is_floating(value) and value.shape in ((rows,), (rows, 1))


def _is_floating(value: Any) -> bool:
    return isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)


def _not_one(found: Mapping[str, Any], outputs: Mapping[str, Any], rows: int) -> str:
    if found:
        return f"{', '.join(found)} may each be the probability: name one with --output, or sira.output"
    shapes = [
        f"{name} {len(value[0])} classes"
        if isinstance(value, list) and value and isinstance(value[0], dict)
        else f"{name} {getattr(value, 'dtype', type(value).__name__)} {getattr(value, 'shape', '')}"
        for name, value in outputs.items()
    ]
    return f"no output is a binary classifier's probability: {rows} rows gave {'; '.join(shapes)}"


def _positive_label(labels: tuple[ClassLabel, ...], declared: str | None) -> ClassLabel:
    if declared is not None:
        named = [label for label in labels if str(label) == declared]
    elif set(labels) in ({0, 1}, {-1, 1}):
        named = [1]
    else:
        named = [label for label in labels if isinstance(label, str) and label.strip().lower() in FRAUD_LABELS]
    if len(named) != 1:
        listed = ", ".join(str(label) for label in labels)
        raise SignatureInvalid(
            [f"which of the classes {listed} is fraud? give the positive label with --positive, or sira.positive"]
        )
    return named[0]


def _positive_column(labels: tuple[ClassLabel, ...] | None, declared: str | None, outputs: Mapping[str, Any]) -> int:
    if labels is not None and len(labels) == 2:
        return labels.index(_positive_label(labels, declared))
    if declared in ("0", "1"):
        return int(declared)
    if declared is not None or any(
        isinstance(value, np.ndarray) and value.dtype == object for value in outputs.values()
    ):
        raise SignatureInvalid(
            ["the graph does not name its classes: give the fraud class's column, 0 or 1, as positive"]
        )
    return 1  # sorted classes 0 and 1, as every converter writes them
