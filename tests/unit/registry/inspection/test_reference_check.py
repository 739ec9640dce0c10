"""Scores are compared row by row, and what is reported holds no value."""

import math

import numpy as np

from registry.inspection.reference_check import compare
from registry.signature import Field, Signature

SIGNATURE = Signature(
    "columns", (Field("amount", "float", nullable=True), Field("country", "string")), "p", "probability"
)
ROWS = [(4111.0, "FR"), (0.0, "SN"), (math.nan, "")]


def test_scores_within_the_tolerance_agree() -> None:
    compared = compare(SIGNATURE, ROWS, [0.1, 0.2, 0.3], 1e-4, lambda rows: np.array([0.1, 0.20009, 0.3]))
    assert compared.differences is None
    assert compared.max_difference == abs(0.20009 - 0.2)


def test_the_worst_rows_are_named_by_place_with_their_blank_and_zero_fields() -> None:
    compared = compare(SIGNATURE, ROWS, [0.1, 0.2, 0.3], 1e-4, lambda rows: np.array([0.1, 0.25, 0.9])[: len(rows)])
    found = compared.differences
    assert found is not None
    assert (found.rows, found.differing) == (3, 2)
    assert [(row.row, row.blank, row.zero) for row in found.worst] == [
        (2, ["amount", "country"], []),
        (1, [], ["amount"]),
    ]


def test_a_row_without_a_probability_is_the_worst() -> None:
    compared = compare(SIGNATURE, ROWS, [0.1, 0.2, 0.3], 0.5, lambda rows: np.array([0.1, np.nan, 0.9])[: len(rows)])
    assert compared.differences is not None
    assert compared.differences.worst[0].difference is None
    assert compared.differences.max_difference is None
    assert "no probability" in str(compared.differences)


def test_no_value_of_a_row_is_reported() -> None:
    compared = compare(SIGNATURE, ROWS, [0.9, 0.2, 0.3], 1e-4, lambda rows: np.array([0.1, 0.2, 0.3])[: len(rows)])
    assert "4111" not in str(compared.differences)
    assert "4111" not in repr(compared.differences)
