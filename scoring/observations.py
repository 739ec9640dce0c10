"""Observations of a histogram, counted in plain integers until they are published to Prometheus."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from prometheus_client import Histogram

from runtime import metrics
from runtime.metrics import LATENCY_EDGES


class Observations:
    """A histogram between two publications: `counts` per upper edge in order, and one for values above all edges."""

    __slots__ = ("_edges", "counts", "total")

    def __init__(self, edges: tuple[float, ...] = LATENCY_EDGES) -> None:
        self._edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self._edges, value)] += times
        self.total += value * times

    def add_all(self, values: Sequence[float]) -> None:
        bins = np.searchsorted(self._edges, values)  # as bisect_left
        self.counts = (np.bincount(bins, minlength=len(self.counts)) + self.counts).tolist()
        self.total += sum(values)

    def publish(self, histogram: Histogram) -> None:
        metrics.observe_many(histogram, self.counts, self.total)
