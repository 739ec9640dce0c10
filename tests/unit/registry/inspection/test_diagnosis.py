"""Each usual cause of a difference is named when it is the cause, and not otherwise."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from registry.feed import Row
from registry.inspection.diagnosis import diagnose
from registry.signature import Field, Signature

SIGNATURE = Signature(
    "columns",
    (
        Field("amount", "float", nullable=True),
        Field("age", "float", nullable=True),
        Field("country", "string", nullable=True),
    ),
    "p",
    "probability",
)
TOLERANCE = 1e-4
Model = Callable[[float, float, str], float]


def rows(*, blank: float = 0.0, zero: float = 0.0, no_country: float = 0.0) -> list[Row]:
    rng = np.random.default_rng(5)
    found: list[Row] = []
    for _ in range(400):
        amount = 0.0 if rng.random() < zero else float(np.float32(rng.lognormal(3, 1)))
        age = math.nan if rng.random() < blank else float(rng.integers(1, 90))
        country = str(rng.choice(["FR", "SN", "CI", "US"]))
        found.append((amount, age, "" if no_country and rng.random() < no_country else country))
    return found


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def served(amount: float, age: float, country: str) -> float:
    """The model as it is served: a missing amount counts 400, a missing age 30."""
    amount = 400.0 if amount != amount else amount
    age = 30.0 if age != age else age
    return sigmoid(0.01 * amount - 0.05 * age + {"FR": 0.1, "SN": 0.7, "CI": -0.9}.get(country, 0.3))


def score(model: Model, given: Sequence[Row]) -> NDArray[np.float64]:
    return np.array([model(*row) for row in given])


def causes(trained: Model, given: list[Row], model: Model = served) -> list[str]:
    expected, scores = score(trained, given), score(model, given)
    return diagnose(SIGNATURE, given, expected, scores, TOLERANCE, lambda changed: score(model, changed))


def only(found: list[str], text: str) -> None:
    assert len(found) == 1, found
    assert text in found[0]


def test_a_swapped_positive_class() -> None:
    only(causes(lambda *row: 1 - served(*row), rows()), "the positive class is swapped")


def test_expected_scores_that_are_log_odds() -> None:
    only(causes(lambda *row: math.log(served(*row) / (1 - served(*row))), rows()), "write probabilities")


def test_expected_scores_outside_0_and_1_that_are_no_log_odds() -> None:
    only(causes(lambda *row: served(*row) + 1.5, rows()), "outside [0, 1]")


def test_a_margin_that_lies_within_0_and_1_by_chance() -> None:
    def margin(amount: float, age: float, country: str) -> float:
        return 0.2 + 0.005 * age

    only(causes(lambda *row: sigmoid(margin(*row)), rows(), margin), "a sigmoid once too little")


def test_zero_taken_as_missing() -> None:
    def trained(amount: float, age: float, country: str) -> float:
        return served(math.nan if amount == 0.0 else amount, age, country)

    only(causes(trained, rows(zero=0.3)), "zero is taken as missing (amount)")


def test_zero_taken_as_missing_in_some_fields_only() -> None:
    """LightGBM #2274: a category of 0 is a category all the same."""
    given: list[Row] = [(amount, age % 3, country) for amount, age, country in rows(zero=0.3)]

    def trained(amount: float, age: float, country: str) -> float:
        return served(math.nan if amount == 0.0 else amount, age, country)

    def model(amount: float, age: float, country: str) -> float:
        return served(amount, age, country)

    only(causes(trained, given, model), "zero is taken as missing (amount)")


def test_a_missing_text_that_the_converter_wrote_as_a_word() -> None:
    def knows_nan(amount: float, age: float, country: str) -> float:
        return served(amount, age, country) * (0.5 if country == "nan" else 1.0)

    def trained(amount: float, age: float, country: str) -> float:
        return knows_nan(amount, age, country or "nan")

    only(causes(trained, rows(no_country=0.2), knows_nan), "give --default 'country=nan'")


def test_a_missing_text_handled_otherwise() -> None:
    def trained(amount: float, age: float, country: str) -> float:
        return served(amount, age, country or "SN")

    only(causes(trained, rows(no_country=0.2)), "every differing row has a missing text (country)")


def test_a_missing_value_taken_as_zero() -> None:
    def trained(amount: float, age: float, country: str) -> float:
        return served(amount, 0.0 if age != age else age, country)

    only(causes(trained, rows(blank=0.2)), "a missing value is taken as 0 (age)")


def test_a_missing_value_handled_otherwise() -> None:
    def trained(amount: float, age: float, country: str) -> float:
        return served(amount, 77.0 if age != age else age, country)

    only(causes(trained, rows(blank=0.2)), "every differing row has a missing value (age)")


@pytest.mark.parametrize("factor", [100.0, 0.01, 1000.0, 60.0])
def test_another_unit(factor: float) -> None:
    def trained(amount: float, age: float, country: str) -> float:
        return served(amount * factor, age, country)

    only(causes(trained, rows()), f"amount is multiplied by {factor:g}")


def test_a_step_that_float32_falls_on_the_other_side_of() -> None:
    given = rows()
    split = given[3][0]

    def stepped(amount: float, age: float, country: str) -> float:
        return 0.2 + 0.3 * (amount > split)

    def trained(amount: float, age: float, country: str) -> float:
        # The trainer's double was a little above what float32 made of it.
        return 0.2 + 0.3 * (amount >= split)

    only(causes(trained, given, stepped), "float32 steps")


def test_a_step_inside_the_model_that_no_input_moves_a_row_across() -> None:
    """Isotonic calibration: float32 rounds the model's own score across a step (sklearn-onnx #1151)."""
    given = rows()

    def stepped(amount: float, age: float, country: str) -> float:
        return 0.1 * math.floor(10 * served(amount, age, country))

    def trained(amount: float, age: float, country: str) -> float:
        return stepped(amount, age, country) + (0.1 if age == 5.0 else 0.0)

    only(causes(trained, given, stepped), "probably float32 puts a value inside the model on the other side of a step")


def test_few_rows_that_differ_beside_others_that_do_not_agree_well_have_no_usual_cause() -> None:
    def trained(amount: float, age: float, country: str) -> float:
        return served(amount, age, country) + (0.01 if age == 5.0 else 0.5e-4)

    assert causes(trained, rows()) == []


def test_other_category_codes() -> None:
    def trained(amount: float, age: float, country: str) -> float:
        return served(amount, age, {"SN": "CI", "CI": "SN"}.get(country, country))

    only(causes(trained, rows()), "depends on country alone")


def test_a_model_that_is_simply_another_has_no_usual_cause() -> None:
    rng = np.random.default_rng(1)

    def trained(amount: float, age: float, country: str) -> float:
        return min(1.0, served(amount, age, country) + 0.2 * float(rng.random()))

    assert causes(trained, rows(blank=0.1, zero=0.1)) == []


def test_a_model_that_raises_under_experiment_is_still_diagnosed() -> None:
    def fragile(amount: float, age: float, country: str) -> float:
        if amount != amount or amount > 1000:
            raise ValueError
        return served(amount, age, country)

    given: list[Any] = rows(zero=0.2)
    assert causes(lambda *row: served(*row) * 0.5, given, fragile) == []
