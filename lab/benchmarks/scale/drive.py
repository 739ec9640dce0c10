"""Full load on a running service; figures count only if every request was answered and almost none from the cache."""

from lab.benchmarks.contender import Running
from lab.benchmarks.scale.finding import MeasurementFailed
from lab.benchmarks.side_by_side import Round, one_round
from lab.load.closed_loop import ClosedLoop
from lab.load.generator import DEFAULT_CONNECTIONS

WARM_UP_SECONDS = 2.0


class Driver:
    """Drives services over the same payloads without repeating one that may still be in a cache."""

    def __init__(self, connections: int = DEFAULT_CONNECTIONS) -> None:
        self._connections = connections
        self.sent = 0  # answered requests, including those of warm-ups
        self._offset = 0

    def drive(self, running: Running, seconds: float) -> Round:
        """Warm up, then measure a round. Raises MeasurementFailed."""
        warm_up = ClosedLoop(running.target, WARM_UP_SECONDS, offset=self._offset, connections=self._connections).run()
        self._advance(warm_up.requests)
        running.process.quiesce()
        measured = one_round(running, seconds, self._offset, self._connections)
        self._advance(measured.requests)
        if errors := warm_up.errors + measured.errors:
            raise MeasurementFailed(f"{errors} requests failed")
        if fault := running.fault():
            raise MeasurementFailed(fault)
        return measured

    def _advance(self, requests: int) -> None:
        self.sent += requests
        self._offset += requests + self._connections  # wrk does not count requests in progress when its time ends
