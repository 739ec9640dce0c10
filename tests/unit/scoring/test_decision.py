import pytest

from registry.model_version import Thresholds
from scoring.decision import DECISIONS, after_breaker, decide


@pytest.mark.parametrize(
    ("score", "decision"),
    [
        (0.0, "allow"),
        (0.49999999999999994, "allow"),
        (0.5, "review"),
        (0.8999999999999999, "review"),
        (0.9, "block"),
        (1.0, "block"),
    ],
)
def test_a_score_at_a_threshold_is_past_it(score: float, decision: str) -> None:
    assert decide(score, Thresholds(review=0.5, block=0.9)) == decision


@pytest.mark.parametrize(
    ("thresholds", "score", "decision"),
    [
        (Thresholds(0, 0), 0.0, "block"),
        (Thresholds(0, 1), 0.0, "review"),
        (Thresholds(1, 1), 0.9999999999999999, "allow"),
        (Thresholds(1, 1), 1.0, "block"),
        (Thresholds(0.5, 0.5), 0.5, "block"),
    ],
)
def test_thresholds_may_meet_each_other_and_the_ends(thresholds: Thresholds, score: float, decision: str) -> None:
    assert decide(score, thresholds) == decision


def test_the_breaker_makes_a_review_of_a_block_and_never_raises_a_decision() -> None:
    assert [after_breaker(decision) for decision in DECISIONS] == ["allow", "review", "review"]
