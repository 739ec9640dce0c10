"""Metrics of a worker: plain counters on the hot path, published to Prometheus once a second."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from runtime import metrics
from runtime.metrics import SCORE_EDGES
from scoring.observations import Observations


class _Answered:
    """The answers for one product by one variant."""

    __slots__ = ("decisions", "latency", "scores")

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.latency = Observations()
        self.scores = Observations(SCORE_EDGES)


class Telemetry:
    """Not thread-safe: one per event loop; `publish` is called there too."""

    def __init__(self) -> None:
        self._answered: defaultdict[tuple[str, str], _Answered] = defaultdict(_Answered)
        self._model: defaultdict[tuple[str, str], Observations] = defaultdict(Observations)
        self._hits: Counter[str] = Counter()
        self._misses: Counter[str] = Counter()
        self._fallbacks: Counter[tuple[str, str]] = Counter()
        self._dropped: Counter[str] = Counter()
        self._downgraded: Counter[str] = Counter()
        self._let_through: Counter[str] = Counter()

    def prediction(
        self, product: str, variant: str, decision: str, outcome: str, seconds: float, score: float | None = None
    ) -> None:
        answered = self._answered[product, variant]
        answered.decisions[decision, outcome] += 1
        answered.latency.add(seconds)
        if score is not None:
            answered.scores.add(score)

    def predictions(
        self, product: str, variant: str, decision: str, outcome: str, seconds: float, scores: Sequence[float]
    ) -> None:
        """Count what `prediction` does for answers that differ in their scores only."""
        answered = self._answered[product, variant]
        answered.decisions[decision, outcome] += len(scores)
        answered.latency.add(seconds, len(scores))
        answered.scores.add_all(scores)

    def looked_up(self, product: str, *, hits: int, misses: int) -> None:
        """Count what `cache` does for many events."""
        self._hits[product] += hits
        self._misses[product] += misses

    def cache(self, product: str, *, hit: bool) -> None:
        (self._hits if hit else self._misses)[product] += 1

    def model_run(self, product: str, variant: str, seconds: float) -> None:
        self._model[product, variant].add(seconds)

    def fallback(self, product: str, reason: str) -> None:
        self._fallbacks[product, reason] += 1

    def downgraded(self, product: str) -> None:
        self._downgraded[product] += 1

    def let_through(self, product: str) -> None:
        """Count a block that the control group let pass."""
        self._let_through[product] += 1

    def paired_dropped(self, product: str, times: int) -> None:
        self._dropped[product] += times

    def publish(self) -> None:
        """Publish all counts and reset them."""
        # Both, so that a product without a hit has a series with 0 rather than none.
        for product in self._hits.keys() | self._misses.keys():
            self._hits[product] += 0
            self._misses[product] += 0
        for (product, variant), answered in self._answered.items():
            for (decision, outcome), n in answered.decisions.items():
                metrics.predictions.labels(product, variant, decision, outcome).inc(n)
            answered.latency.publish(metrics.inference_latency.labels(product, variant))
            answered.scores.publish(metrics.scores.labels(product, variant))
        self._answered.clear()
        for labels, observed in self._model.items():
            observed.publish(metrics.model_score.labels(*labels))
        self._model.clear()
        for (product, reason), n in self._fallbacks.items():
            metrics.canary_fallbacks.labels(product, reason).inc(n)
        self._fallbacks.clear()
        for counter, by_name in (
            (metrics.cache_hits, self._hits),
            (metrics.cache_misses, self._misses),
            (metrics.canary_paired_dropped, self._dropped),
            (metrics.decisions_downgraded, self._downgraded),
            (metrics.control_group_passed, self._let_through),
        ):
            for name, n in by_name.items():
                counter.labels(name).inc(n)
            by_name.clear()
