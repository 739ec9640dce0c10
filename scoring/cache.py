"""A bounded LRU cache of scores, keyed by model and canonical row."""

import marshal
from collections import OrderedDict

from registry.feed import Row


def cache_key(model: bytes, row: Row) -> bytes:
    """Return the key of a row. Bytes, because Python's garbage collector scans tuples, and 10,000 of them delay calls.

    marshal's version 2 writes equal values of equal types identically; the bytes never leave this process.
    """
    return model + marshal.dumps(row, 2)


class ScoreCache:
    """At most `max_items` scores of all models of the process. Not thread-safe: one per event loop.

    Its hits are counted by scoring/telemetry.py.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._scores: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: bytes) -> float | None:
        """Return the score, or None."""
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def put(self, key: bytes, score: float) -> None:
        """Store a score; evict the least recently used one over the limit."""
        self._scores[key] = score
        if len(self._scores) > self._max_items:
            self._scores.popitem(last=False)
