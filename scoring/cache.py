"""Scores of inputs seen before: bounded, keyed by model and canonical row, least recently used out."""

import marshal
from collections import OrderedDict

from registry.feed import Row


def cache_key(model: bytes, row: Row) -> bytes:
    """Bytes, because Python's garbage collector looks through every tuple, and 10,000 rows at a time held calls up.

    marshal's version 2 writes equal values of equal types alike; it never leaves this process.
    """
    return model + marshal.dumps(row, 2)


class ScoreCache:
    """At most `most_items` scores over all models of the process. Not thread-safe: one per event loop."""

    def __init__(self, most_items: int) -> None:
        self._most_items = most_items
        self._scores: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: bytes) -> float | None:
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def put(self, key: bytes, score: float) -> None:
        self._scores[key] = score
        if len(self._scores) > self._most_items:
            self._scores.popitem(last=False)
