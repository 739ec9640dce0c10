"""Which output is the fraud probability, for every layout the converters write."""

from typing import Any

import numpy as np
import pytest

from registry.feed import raw_scores
from registry.inspection.outputs import choose_output
from registry.signature import ModelOutput, SignatureInvalid

PAIRS = np.array([[0.9, 0.1], [0.2, 0.8]], dtype=np.float32)
LABELS = np.array([0, 1])
NAMES = np.array(["legitimate", "fraud"], dtype=object)


def maps(*labels: int | str) -> list[dict[int | str, float]]:
    return [dict(zip(labels, row, strict=True)) for row in PAIRS.tolist()]


@pytest.mark.parametrize(
    ("outputs", "labels", "expected"),
    [
        ({"label": LABELS, "p": PAIRS}, None, ModelOutput("p", "probabilities", 1)),
        ({"label": LABELS, "p": PAIRS}, (0, 1), ModelOutput("p", "probabilities", 1)),
        ({"label": NAMES, "p": PAIRS[:, ::-1]}, ("fraud", "legitimate"), ModelOutput("p", "probabilities", 0)),
        ({"label": LABELS, "p": maps(0, 1)}, None, ModelOutput("p", "zipmap", 1)),
        ({"label": LABELS, "p": maps(-1, 1)}, None, ModelOutput("p", "zipmap", 1)),
        ({"label": NAMES, "p": maps("legitimate", "fraud")}, None, ModelOutput("p", "zipmap", "fraud")),
        ({"label": LABELS, "i0": PAIRS[:, 0], "i1": PAIRS[:, 1]}, (0, 1), ModelOutput("i1", "probability", 1)),
        (
            {"label": NAMES, "sfraud": PAIRS[:, 1], "slegitimate": PAIRS[:, 0]},
            ("fraud", "legitimate"),
            ModelOutput("sfraud", "probability", 1),
        ),
        ({"label": LABELS, "s0.0": PAIRS[:, 0], "s1.0": PAIRS[:, 1]}, (0, 1), ModelOutput("s1.0", "probability", 1)),
        ({"p": PAIRS[:, 1]}, None, ModelOutput("p", "probability", 1)),
        ({"p": PAIRS[:, 1:]}, None, ModelOutput("p", "probability", 1)),
        ({"label": LABELS, "margin": PAIRS[:, 1], "p": PAIRS}, None, ModelOutput("p", "probabilities", 1)),
    ],
)
def test_the_probability_is_found_and_read(
    outputs: dict[str, Any], labels: tuple[int | str, ...] | None, expected: ModelOutput
) -> None:
    output = choose_output(outputs, rows=2, labels=labels)
    assert output == expected
    assert raw_scores(output, outputs[output.name], 2) == pytest.approx([0.1, 0.8])


def refusal(outputs: dict[str, Any], **known: Any) -> str:
    with pytest.raises(SignatureInvalid) as refused:
        choose_output(outputs, rows=2, **known)
    (fault,) = refused.value.faults
    return fault


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"label": LABELS},
        {"p": np.zeros((2, 3), dtype=np.float32)},
        {"p": [{0: 0.1, 1: 0.2, 2: 0.7}] * 2},
        {"p": np.zeros((3, 2), dtype=np.float32)},
        {"p": [{0: 0.1, 1: 0.9}]},
    ],
)
def test_what_is_no_binary_classifier_is_refused(outputs: dict[str, Any]) -> None:
    assert refusal(outputs).startswith("no output is a binary classifier's probability")


def test_two_candidates_are_refused_until_one_is_named() -> None:
    outputs = {"raw": PAIRS, "calibrated": PAIRS}
    assert refusal(outputs) == "raw, calibrated may each be the probability: name one with --output, or sira.output"
    assert choose_output(outputs, rows=2, wanted="calibrated").name == "calibrated"


def test_outputs_that_are_not_all_named_after_a_class_are_refused() -> None:
    outputs = {"i0": PAIRS[:, 0], "i1": PAIRS[:, 1], "margin": PAIRS[:, 1]}
    assert "i0, i1, margin may each be the probability" in refusal(outputs, labels=(0, 1))


def test_an_output_that_is_not_there_cannot_be_wanted() -> None:
    assert refusal({"p": PAIRS}, wanted="q") == "output q is not an output of the model, which are p"


@pytest.mark.parametrize("labels", [(3, 4), ("a", "b"), ("fraud", "yes")])
def test_classes_of_unclear_meaning_are_refused_until_one_is_declared(labels: tuple[int | str, ...]) -> None:
    outputs = {"p": maps(*labels)}
    assert "which of the classes" in refusal(outputs)
    assert choose_output(outputs, rows=2, positive=str(labels[0])).positive == labels[0]


def test_a_declared_class_that_is_not_there_is_refused() -> None:
    assert "which of the classes 0, 1 is fraud" in refusal({"p": maps(0, 1)}, positive="fraud")


def test_named_classes_that_the_graph_does_not_order_need_a_column() -> None:
    outputs = {"label": NAMES, "p": PAIRS}
    assert "give the fraud class's column" in refusal(outputs)
    assert choose_output(outputs, rows=2, positive="0") == ModelOutput("p", "probabilities", 0)
