"""Reasons as callers get them: ranked, with a direction, and adding up on both scales."""

import numpy as np
import pytest

from registry.reason_codes import ReasonCode, ReasonCodes
from scoring.reasons.description import base_value, field_reasons
from scoring.reasons.explanation import Impacts, to_log_odds, to_probability

NAMES, CLASSES = ("a", "b", "c"), ("low", "high", "rare")
CODES = ReasonCodes([ReasonCode("b", "R1", "b is high", direction="raises")])


def reasons(*values: float, scale: str = "log_odds", base: float = -2.0):  # type: ignore[no-untyped-def]
    impacts = Impacts("exact", scale, base, np.array([values]))  # type: ignore[arg-type]
    (found,) = field_reasons(impacts, NAMES, lambda place, value: CLASSES[place], CODES, [(1.0, 2.0, 3.0)])  # type: ignore[arg-type,return-value]
    return found


def test_fields_are_ranked_by_absolute_impact_and_ties_keep_the_fields_order() -> None:
    found = reasons(0.5, -2.0, 0.5)
    assert [(r.rank, r.field, r.direction) for r in found] == [
        (1, "b", "lowers"),
        (2, "a", "raises"),
        (3, "c", "raises"),
    ]
    assert reasons(0.0, 0.0, 0.0)[0].direction == "none"


@pytest.mark.parametrize("values", [(1.0, -0.25, 3.0), (1.0, -1.0, 0.0), (0.0, 0.0, 0.0), (30.0, 20.0, -1.0)])
def test_both_scales_add_up_to_the_score(values: tuple[float, ...]) -> None:
    found = reasons(*values)
    score = float(to_probability(-2.0 + sum(values), "log_odds"))
    assert base_value(-2.0, "log_odds").probability + sum(r.probability for r in found) == pytest.approx(score)
    assert sum(r.log_odds for r in found) == pytest.approx(sum(values))


def test_a_forests_impacts_are_probabilities_and_their_log_odds_add_up_too() -> None:
    found = reasons(0.3, -0.05, 0.1, scale="probability", base=0.2)
    assert [r.probability for r in found] == [0.3, 0.1, -0.05]
    assert sum(r.log_odds for r in found) == pytest.approx(to_log_odds(0.55) - to_log_odds(0.2))


def test_log_odds_that_are_infinite_are_null() -> None:
    found = reasons(0.7, 0.1, 0.0, scale="probability", base=0.2)
    assert [r.log_odds for r in found][:2] == [None, None]
    assert base_value(0.0, "probability").log_odds is None


def test_a_field_has_the_code_of_its_direction_and_otherwise_none() -> None:
    assert [(r.code, r.sentence) for r in reasons(0.1, 2.0, 0.3) if r.code] == [("R1", "b is high")]
    assert not [r for r in reasons(0.1, -2.0, 0.3) if r.code or r.sentence]


def test_an_event_has_the_same_reasons_alone_and_among_others() -> None:
    values, rows = np.array([[0.1, -2.0, 0.3], [1.0, 1.0, -1.0]]), [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)]
    together = field_reasons(Impacts("exact", "log_odds", -2.0, values), NAMES, lambda place, value: "low", CODES, rows)
    for event, row in enumerate(rows):
        alone = Impacts("exact", "log_odds", -2.0, values[event : event + 1])
        assert field_reasons(alone, NAMES, lambda place, value: "low", CODES, [row]) == [together[event]]


def test_a_sampled_impact_has_its_standard_error() -> None:
    impacts = Impacts("sampled", "log_odds", -2.0, np.array([[0.1, -2.0, 0.3]]), np.array([[0.01, 0.02, 0.03]]))
    (found,) = field_reasons(impacts, NAMES, lambda place, value: "low", CODES, [(1.0, 2.0, 3.0)], 2)
    assert [(reason.field, reason.standard_error) for reason in found] == [("b", 0.02), ("c", 0.03)]
