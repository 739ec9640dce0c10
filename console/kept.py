"""What a page has read and need not read again, because it cannot change any more."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

FactKey = TypeVar("FactKey")
Fact = TypeVar("Fact")


class KeptFacts(Generic[FactKey, Fact]):
    """The facts that were used last, at most `limit` of them; thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._facts: OrderedDict[FactKey, Fact] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, keys: Iterable[FactKey]) -> dict[FactKey, Fact]:
        """Return those of the facts that are kept."""
        with self._lock:
            found = {key: self._facts[key] for key in keys if key in self._facts}
            for key in found:
                self._facts.move_to_end(key)
        return found

    def keep(self, facts: Mapping[FactKey, Fact]) -> None:
        """Keep these facts, and forget those that have not been used for longest."""
        with self._lock:
            for key, value in facts.items():
                self._facts[key] = value
                self._facts.move_to_end(key)
            while len(self._facts) > self._limit:
                self._facts.popitem(last=False)
