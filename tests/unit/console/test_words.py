"""Numbers and times as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from console import words

NOW = datetime(2026, 11, 27, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (1234567, "1,234,567"), (0.123456, "0.1235"), (1234.5, "1,234"), (1e-9, "1e-09")],
)
def test_a_number_has_four_digits_or_separators(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(None, 1, "–"), (1, 0, "–"), (0, 5, "0.00 %"), (1, 3, "33.33 %"), (3, 3, "100.00 %")]
)
def test_a_share_of_nothing_is_not_a_number(part: float | None, whole: float, text: str) -> None:
    assert words.share(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 d 1 h"), (86_460, "1 d")],
)
def test_a_duration_names_its_two_largest_units(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text
    assert words.duration(timedelta(seconds=seconds)) == text


def test_a_time_is_compared_with_now() -> None:
    assert words.ago(NOW - timedelta(minutes=2), NOW) == "2 min ago"
    assert words.ago(NOW + timedelta(hours=3), NOW) == "in 3 h"
    assert words.ago(None, NOW) == "never"


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.0005, "≤ 1 ms"), (0.0123, "12.3 ms"), (2.0, "2000.0 ms")]
)
def test_milliseconds_stop_at_the_first_bin(seconds: float | None, text: str) -> None:
    assert words.milliseconds(seconds) == text
