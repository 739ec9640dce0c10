"""Reading in a thread while the caller works on what was read: both use a core."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")


@contextmanager
def read_ahead(items: Generator[_Item, None, None], count: int) -> Iterator[Iterator[_Item]]:
    """Yield an iterator over `items`, of which a thread prepares the next `count` meanwhile.

    What `items` raises is raised where the item would have come. At the end of the block, `items` is closed, and no
    thread uses it any more.
    """
    with closing(items):
        thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        try:
            yield _in_order(thread, items, count)
        finally:
            thread.shutdown(cancel_futures=True)


def _in_order(thread: ThreadPoolExecutor, items: Iterator[_Item], count: int) -> Iterator[_Item]:
    waiting: deque[Future[_Item | None]] = deque(thread.submit(next, items, None) for _ in range(count))
    while (item := waiting.popleft().result()) is not None:
        waiting.append(thread.submit(next, items, None))
        yield item
