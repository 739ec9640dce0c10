"""The kept rows are the same for the same file in any order, and come back as they went."""

import random

import pytest

from registry.reference import ReferenceCorrupt, ReferenceRow, ReferenceRows, spread

ROWS = ReferenceRows(
    tuple(ReferenceRow({"amount": n / 7, "country": "é\n", "age": None}, n / 5_000, n % 2 == 0) for n in range(5_000))
)


def test_rows_come_back_as_they_went() -> None:
    assert ReferenceRows.from_bytes(ROWS.to_bytes()) == ROWS


def test_the_same_rows_are_the_same_bytes() -> None:
    assert ROWS.to_bytes() == ROWS.to_bytes()


def test_a_sample_does_not_depend_on_the_order_of_the_file() -> None:
    shuffled = list(ROWS.rows)
    random.Random(3).shuffle(shuffled)
    sampled = ReferenceRows(tuple(shuffled)).sample()
    assert len(sampled.rows) == 1_000
    assert {row.score for row in sampled.rows} == {row.score for row in ROWS.sample().rows}


def test_a_sample_is_spread_over_the_file() -> None:
    scores = [row.score for row in ROWS.sample().rows]
    assert sum(score < 0.5 for score in scores) == pytest.approx(500, abs=60)


def test_few_rows_are_all_kept() -> None:
    few = ReferenceRows(ROWS.rows[:50])
    assert few.sample() is few


@pytest.mark.parametrize("content", [b"", b"nothing", ROWS.to_bytes()[:-10]])
def test_damaged_rows_are_refused(content: bytes) -> None:
    with pytest.raises(ReferenceCorrupt):
        ReferenceRows.from_bytes(content)


def test_the_rows_checked_at_load_reach_from_the_lowest_score_to_the_highest() -> None:
    scores = [row.score for row in spread(ROWS.rows)]
    assert len(scores) == 16
    assert (scores[0], scores[-1]) == (0.0, 4_999 / 5_000)
