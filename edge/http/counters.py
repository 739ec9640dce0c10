"""HTTP metrics of a worker: plain counters per request, published to Prometheus with the others."""

from collections import Counter

from runtime import metrics


class HttpCounters:
    """Not thread-safe: one per event loop; `publish` is called there too."""

    def __init__(self) -> None:
        self._responses: Counter[tuple[str, int]] = Counter()
        self._rejected: Counter[str] = Counter()

    def response(self, route: str, status: int) -> None:
        self._responses[route, status] += 1

    def rejected(self, reason: str) -> None:
        self._rejected[reason] += 1

    def publish(self) -> None:
        """Add the counts to the metrics, and start again from zero."""
        for (route, status), n in self._responses.items():
            metrics.http_requests.labels(route, str(status)).inc(n)
        self._responses.clear()
        for reason, n in self._rejected.items():
            metrics.http_rejected.labels(reason).inc(n)
        self._rejected.clear()
