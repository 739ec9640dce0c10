"""Items are read in a thread, in their order, and nothing of it is left behind."""

import threading
from collections.abc import Generator, Iterator

import pytest

from archive.read_ahead import read_ahead


def numbers(until: int, closed: list[bool]) -> Generator[int, None, None]:
    try:
        yield from range(until)
        raise ValueError("the last one")
    finally:
        closed.append(True)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_comes_after_every_item_before_it(count: int) -> None:
    found: list[int] = []
    closed: list[bool] = []

    def collect() -> None:
        with read_ahead(numbers(10, closed), count) as items:
            found.extend(items)

    with pytest.raises(ValueError, match="the last one"):
        collect()
    assert found == list(range(10))
    assert closed == [True]
    assert readers() == []


def test_nothing_yields_nothing() -> None:
    with read_ahead((number for number in range(0)), 3) as items:
        assert list(items) == []


def test_leaving_early_closes_the_source() -> None:
    closed: list[bool] = []
    with read_ahead(numbers(1_000, closed), 3) as items:
        assert next(items) == 0
    assert closed == [True]
    assert readers() == []


def test_the_next_item_is_read_while_the_caller_works() -> None:
    read = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        read.set()
        yield 2

    with read_ahead((item for item in source()), 1) as items:
        assert next(items) == 1
        assert read.wait(10)
        assert list(items) == [2]
