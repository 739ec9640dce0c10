import numpy as np
import pytest

from canary.judge.evidence import LATENCY_BINS
from canary.judge.latency import add_latency, count_above, empty_window, latency_since, quantile_bin


def histogram(**bins: int) -> np.ndarray:
    dense = np.zeros(LATENCY_BINS, dtype=np.int32)
    for name, count in bins.items():
        dense[int(name[1:])] = count
    return dense


def both(**bins: int) -> np.ndarray:
    return np.stack([histogram(**bins), histogram()])


@pytest.mark.parametrize(
    ("bins", "expected"),
    [({}, 0), ({"b7": 1}, 7), ({"b7": 95, "b9": 5}, 7), ({"b7": 94, "b9": 6}, 9), ({"b457": 3}, 457)],
)
def test_the_p95_bin_is_the_first_that_holds_95_percent_with_those_below(bins: dict[str, int], expected: int) -> None:
    assert quantile_bin(histogram(**bins), 0.95) == expected


@pytest.mark.parametrize(("bin_", "expected"), [(0, 6), (7, 4), (8, 4), (9, 1), (456, 1), (457, 0), (470, 0)])
def test_the_count_above_a_bin_excludes_the_bin_itself(bin_: int, expected: int) -> None:
    assert count_above(histogram(b7=2, b9=3, b457=1), np.array(bin_)) == expected


def test_the_window_drops_blocks_that_are_ten_minutes_old() -> None:
    window = empty_window(())
    for minute in range(12):
        window = add_latency(window, minute, both(b1=1, b2=minute))
    assert window.minutes == tuple(range(2, 12))
    assert window.total[0, 1] == 10
    assert window.total[0, 2] == sum(range(2, 12))


def test_a_long_gap_empties_the_window() -> None:
    window = add_latency(add_latency(empty_window(()), 0, both(b1=9)), 100, both(b2=1))
    assert (window.total[0, 1], window.total[0, 2]) == (0, 1)


def test_blocks_can_be_read_from_a_minute_on() -> None:
    window = empty_window(())
    for minute in (0, 0, 1, 2):
        window = add_latency(window, minute, both(b1=1))
    assert [int(latency_since(window, minute)[0, 1]) for minute in (0, 1, 2, 3)] == [4, 2, 1, 0]
