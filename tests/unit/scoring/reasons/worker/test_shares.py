"""Which predictions are explained without being asked."""

import pytest

from runtime.settings import ReasonsShare
from scoring.log.prediction import prediction_id
from scoring.reasons.worker.shares import Shares

LOW, HIGH = "00000001-0000-8000-8000-000000000000", "ffffffff-0000-8000-8000-000000000000"


def test_without_a_share_nothing_is_explained() -> None:
    assert not any(Shares(()).wanted("cards", decision, LOW) for decision in ("allow", "review", "block"))


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, False, False), (0.5, True, False), (1.0, True, True)])
def test_a_share_is_drawn_by_the_id(share: float, low: bool, high: bool) -> None:
    shares = Shares([ReasonsShare(None, "block", share)])
    assert (shares.wanted("cards", "block", LOW), shares.wanted("cards", "block", HIGH)) == (low, high)


@pytest.mark.parametrize(("share", "wanted"), [(0.0, False), (0.001, True), (1.0, True)])
def test_a_decision_may_be_wanted_if_it_has_a_share(share: float, wanted: bool) -> None:
    shares = Shares([ReasonsShare(None, "allow", share), ReasonsShare("loans", "allow", 0.0)])
    assert shares.may_want("cards", "allow") == wanted
    assert not shares.may_want("loans", "allow")
    assert not shares.may_want("cards", "review")


def test_a_products_own_share_comes_before_the_general_one_whatever_their_order() -> None:
    for shares in (
        [ReasonsShare(None, "block", 1.0), ReasonsShare("cards", "block", 0.0)],
        [ReasonsShare("cards", "block", 0.0), ReasonsShare(None, "block", 1.0)],
    ):
        made = Shares([*shares, ReasonsShare(None, "review", 1.0)])
        assert not made.wanted("cards", "block", LOW)
        assert made.wanted("cards", "review", HIGH)
        assert made.wanted("loans", "block", HIGH)


def test_a_tenth_of_many_ids_is_about_a_tenth() -> None:
    shares = Shares([ReasonsShare(None, "review", 0.1)])
    ids = (prediction_id("m", "cards", str(n), "") for n in range(10_000))
    assert 900 < sum(shares.wanted("cards", "review", one) for one in ids) < 1_100
