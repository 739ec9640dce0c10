"""Backgrounds are addressed by their content, hold ordinary events only, and classify values without showing them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.model_version import Thresholds
from registry.reference import ReferenceRow, ReferenceRows
from registry.signature import Field, Signature
from scoring.reasons.background import MIN_ROWS, Background, ValueClasses, from_log, from_reference

SIGNATURE = Signature(
    "columns",
    (Field("amount", "double", nullable=True), Field("country", "string", nullable=True), Field("known", "bool")),
    "p",
    "probability",
)
THRESHOLDS = Thresholds(0.5, 0.9)


def payload(amount: float | None, country: str = "FR", **more: object) -> dict[str, object]:
    return {"amount": amount, "country": country, "known": True, **more}


def test_the_digest_does_not_depend_on_the_order_of_the_payloads() -> None:
    one, other = payload(1.0), payload(2.0)
    assert Background.of([one, other], "reference").sha256 == Background.of([other, one], "reference").sha256
    assert Background.of([one], "reference").sha256 != Background.of([other], "reference").sha256


def test_a_background_gives_its_payloads_back() -> None:
    payloads = [payload(1.5, "é\n\t\\"), payload(None, "")]
    found = Background.of(payloads, "production").payloads()
    assert sorted(found, key=str) == sorted(payloads, key=str)


def test_reference_rows_that_are_fraud_or_would_be_reviewed_are_not_ordinary() -> None:
    ordinary = [ReferenceRow(payload(float(n)), 0.1) for n in range(MIN_ROWS)]  # type: ignore[arg-type]
    other = [ReferenceRow(payload(900.0), 0.1, label=True), ReferenceRow(payload(901.0), 0.5)]  # type: ignore[arg-type]
    found = from_reference(ReferenceRows((*ordinary, *other)), THRESHOLDS, SIGNATURE, 128)
    assert found is not None
    assert sorted(p["amount"] for p in found.payloads()) == [float(n) for n in range(MIN_ROWS)]


def test_too_few_reference_rows_make_no_background() -> None:
    rows = ReferenceRows(tuple(ReferenceRow(payload(1.0), 0.1) for _ in range(MIN_ROWS - 1)))  # type: ignore[arg-type]
    assert from_reference(rows, THRESHOLDS, SIGNATURE, 128) is None


def test_logged_payloads_that_the_version_cannot_read_are_passed_over() -> None:
    readable = [payload(float(n), note="not kept") for n in range(3)]
    found = from_log([{"amount": "x"}, *readable], SIGNATURE, 3)
    assert found is not None
    assert all(kept.keys() == {"amount", "country", "known"} for kept in found.payloads())
    assert from_log([{"amount": "x"}, *readable], SIGNATURE, 4) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "missing"),
        (-1.0, "below_all"),
        (0.0, "low"),
        (24.0, "low"),
        (50.0, "middle"),
        (75.0, "high"),
        (99.0, "high"),
        (100.0, "above_all"),
    ],
)
def test_a_number_is_classified_by_its_rank_in_the_background(value: float, expected: str) -> None:
    rows = [(float(n), "FR", True) for n in range(100)]
    assert ValueClasses(SIGNATURE, rows).of(0, value) == expected


@pytest.mark.parametrize(("value", "expected"), [("FR", "common"), ("US", "rare"), ("CI", "unseen"), ("", "missing")])
def test_text_is_classified_by_how_many_have_it(value: str, expected: str) -> None:
    rows = [(1.0, "US" if n == 0 else "FR", n > 0) for n in range(20)]
    classes = ValueClasses(SIGNATURE, rows)
    assert classes.of(1, value) == expected
    assert (classes.of(2, True), classes.of(2, False)) == ("common", "rare")


def test_a_constant_background_makes_its_value_ordinary_and_a_blank_one_makes_every_number_unseen() -> None:
    assert ValueClasses(SIGNATURE, [(5.0, "FR", True)] * 3).of(0, 5.0) == "middle"
    assert ValueClasses(SIGNATURE, [(math.nan, "FR", True)] * 3).of(0, 5.0) == "unseen"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(-1, 7))
def test_a_number_is_low_or_high_by_how_many_are_beyond_it(column: list[int], value: int) -> None:
    classes = ValueClasses(SIGNATURE, [(float(number), "FR", True) for number in column])
    above, below = sum(n > value for n in column), sum(n < value for n in column)
    middle = "low" if above >= 0.75 * len(column) else "high" if below >= 0.75 * len(column) else "middle"
    outside = "below_all" if above == len(column) else "above_all" if below == len(column) else middle
    assert classes.of(0, float(value)) == outside
