"""What a worker counts while it answers: plain numbers on the hot path, given to Prometheus once a second."""

from bisect import bisect_left
from collections import Counter, defaultdict

from runtime import metrics
from runtime.metrics import LATENCY_EDGES

_EDGES = (*LATENCY_EDGES, float("inf"))


class _Observations:
    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts: Counter[float] = Counter()
        self.total = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        self.counts[_EDGES[bisect_left(LATENCY_EDGES, seconds)]] += times
        self.total += seconds * times


class Telemetry:
    """Not thread-safe: one per event loop; `publish` is called there too."""

    def __init__(self) -> None:
        self._predictions: Counter[tuple[str, str, str, str]] = Counter()
        self._latency: defaultdict[tuple[str, str], _Observations] = defaultdict(_Observations)
        self._model: defaultdict[tuple[str, str], _Observations] = defaultdict(_Observations)
        self._hits: Counter[str] = Counter()
        self._misses: Counter[str] = Counter()
        self._fallbacks: Counter[tuple[str, str]] = Counter()
        self._dropped: Counter[str] = Counter()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._rejected: Counter[str] = Counter()

    def prediction(self, product: str, variant: str, decision: str, outcome: str, seconds: float) -> None:
        self._predictions[product, variant, decision, outcome] += 1
        self._latency[product, variant].add(seconds)

    def cache(self, product: str, *, hit: bool) -> None:
        (self._hits if hit else self._misses)[product] += 1

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
        for histogram, observed in ((metrics.inference_latency, self._latency), (metrics.model_score, self._model)):
            for labels, observations in observed.items():
                metrics.observe_many(histogram.labels(*labels), observations.counts, observations.total)
            observed.clear()
