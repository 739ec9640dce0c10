"""Answered predictions that wait to be explained: a bounded queue for each product, which drops its oldest.

One queue for all would let a product whose model takes long to explain push out the predictions of the others.
"""

import contextlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from registry.feed import Row
from registry.model_version import ModelVersion
from scoring.log.prediction import Prediction


class WaitingPrediction(NamedTuple):
    """`row` is the payload as the version that answered read it."""

    version: ModelVersion
    row: Row
    prediction: Prediction


class WaitingPredictions:
    """At most about `max_waiting` in all, shared evenly by the products. One thread adds, and another takes."""

    def __init__(self, max_waiting: int, dropped: Callable[[WaitingPrediction], None]) -> None:
        """`dropped` is called with each prediction that is dropped, on the thread that adds."""
        self._max_waiting = max_waiting
        self._dropped = dropped
        self._queues: dict[str, deque[WaitingPrediction]] = {}

    def add(self, item: WaitingPrediction) -> None:
        product = item.prediction.product
        queue = self._queues.get(product)
        if queue is None:
            queue = deque()
            # Replaced and not changed, because the other thread may be walking through it.
            self._queues = {**self._queues, product: queue}
        room = max(1, self._max_waiting // len(self._queues))
        with contextlib.suppress(IndexError):  # the other thread has just taken them all
            while len(queue) >= room:
                self._dropped(queue.popleft())
        queue.append(item)

    def counts(self) -> dict[str, int]:
        """Return how many predictions wait, for the products of which any does."""
        return {product: len(queue) for product, queue in self._queues.items() if queue}

    def oldest(self, product: str) -> WaitingPrediction | None:
        """Return a product's oldest prediction without taking it."""
        queue = self._queues[product]
        try:
            return queue[0]
        except IndexError:
            return None

    def take(self, product: str, most: int) -> list[WaitingPrediction]:
        """Take a product's oldest predictions, `most` at most."""
        queue = self._queues[product]
        taken: list[WaitingPrediction] = []
        with contextlib.suppress(IndexError):
            while len(taken) < most:
                taken.append(queue.popleft())
        return taken
