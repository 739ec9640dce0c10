"""Which blocks of the log a look of the profiler reads."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitoring.profiler import MAX_BLOCKS, PLACES, places_to_read

BLOCKS = st.integers(0, 2**32)


@given(first=BLOCKS, count=st.integers(0, MAX_BLOCKS))
def test_few_new_blocks_are_all_read(first: int, count: int) -> None:
    assert places_to_read(first, first + count) == [(first, first + count)]


@given(first=BLOCKS, count=st.integers(MAX_BLOCKS + 1, 2**32))
def test_of_many_a_fixed_number_is_read_without_a_block_twice_up_to_the_last(first: int, count: int) -> None:
    places = places_to_read(first, first + count)
    assert sum(end - since for since, end in places) == MAX_BLOCKS
    assert len(places) == PLACES
    assert all(end <= since for (_, end), (since, _) in pairwise(places))
    assert first <= places[0][0]
    assert places[-1][1] == first + count


def test_the_places_are_at_equal_distances() -> None:
    ends = [end for _, end in places_to_read(0, 100_000)]
    assert {later - sooner for sooner, later in pairwise(ends)} == {100_000 // PLACES}
