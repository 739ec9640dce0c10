"""What a worker counts while it answers: plain numbers on the hot path, given to Prometheus once a second."""

from bisect import bisect_left
from collections import Counter, defaultdict
from math import inf

from runtime import metrics
from runtime.metrics import LATENCY_EDGES, SCORE_EDGES


class _Observations:
    """A histogram between two publications; `edges` are upper ones, without infinity."""

    __slots__ = ("_edges", "counts", "total")

    def __init__(self, edges: tuple[float, ...] = LATENCY_EDGES) -> None:
        self._edges = edges
        self.counts: Counter[float] = Counter()
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        place = bisect_left(self._edges, value)
        self.counts[self._edges[place] if place < len(self._edges) else inf] += times
        self.total += value * times


def _scores() -> _Observations:
    return _Observations(SCORE_EDGES)


class Telemetry:
    """Not thread-safe: one per event loop; `publish` is called there too."""

    def __init__(self) -> None:
        self._predictions: Counter[tuple[str, str, str, str]] = Counter()
        self._latency: defaultdict[tuple[str, str], _Observations] = defaultdict(_Observations)
        self._model: defaultdict[tuple[str, str], _Observations] = defaultdict(_Observations)
        self._scores: defaultdict[tuple[str, str], _Observations] = defaultdict(_scores)
        self._hits: Counter[str] = Counter()
        self._misses: Counter[str] = Counter()
        self._fallbacks: Counter[tuple[str, str]] = Counter()
        self._dropped: Counter[str] = Counter()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._rejected: Counter[str] = Counter()

    def prediction(
        self, product: str, variant: str, decision: str, outcome: str, seconds: float, score: float | None = None
    ) -> None:
        self._predictions[product, variant, decision, outcome] += 1
        self._latency[product, variant].add(seconds)
        if score is not None:
            self._scores[product, variant].add(score)

    def cache(self, product: str, *, hit: bool) -> None:
        # Both, so that a product that never hits shows 0 hits rather than no series.
        self._hits[product] += hit
        self._misses[product] += not hit

    def model_run(self, product: str, variant: str, seconds: float) -> None:
        self._model[product, variant].add(seconds)

    def fallback(self, product: str, reason: str) -> None:
        self._fallbacks[product, reason] += 1

    def paired_dropped(self, product: str, times: int) -> None:
        self._dropped[product] += times

    def http(self, route: str, status: int, times: int = 1) -> None:
        self._answers[route, str(status)] += times

    def rejected(self, reason: str) -> None:
        self._rejected[reason] += 1

    def publish(self) -> None:
        """Hand over and start again from zero."""
        for counter, counts in (
            (metrics.predictions, self._predictions),
            (metrics.canary_fallbacks, self._fallbacks),
            (metrics.http_requests, self._answers),
        ):
            for labels, n in counts.items():
                counter.labels(*labels).inc(n)
            counts.clear()
        for counter, by_name in (
            (metrics.cache_hits, self._hits),
            (metrics.cache_misses, self._misses),
            (metrics.canary_paired_dropped, self._dropped),
            (metrics.http_rejected, self._rejected),
        ):
            for name, n in by_name.items():
                counter.labels(name).inc(n)
            by_name.clear()
        for histogram, observed in (
            (metrics.inference_latency, self._latency),
            (metrics.model_score, self._model),
            (metrics.scores, self._scores),
        ):
            for labels, observations in observed.items():
                metrics.observe_many(histogram.labels(*labels), observations.counts, observations.total)
            observed.clear()
