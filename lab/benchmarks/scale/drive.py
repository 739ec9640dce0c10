"""Full load on a running service, with figures only where all was answered and (almost) nothing from the cache."""

from lab.benchmarks import wrk
from lab.benchmarks.contender import Running
from lab.benchmarks.scale.finding import MeasurementFailed
from lab.benchmarks.side_by_side import Round, one_round

WARM_UP_SECONDS = 2.0


class Driver:
    """Drives services whose bodies hold the same payloads, and never meets one again that their caches may hold."""

    def __init__(self, connections: int = wrk.CONNECTIONS) -> None:
        self._connections = connections
        self.sent = 0  # requests that wrk saw answered, those that warmed up included
        self._place = 0

    def drive(self, running: Running, seconds: float) -> Round:
        """A warm-up, then a measured round. Raises MeasurementFailed."""
        warm_up = wrk.drive(running.target, WARM_UP_SECONDS, offset=self._place, connections=self._connections)
        self._passed(warm_up.requests)
        running.server.quiesce()
        measured = one_round(running, seconds, self._place, self._connections)
        self._passed(measured.requests)
        if errors := warm_up.errors + measured.errors:
            raise MeasurementFailed(f"{errors} requests failed")
        if fault := running.fault():
            raise MeasurementFailed(fault)
        return measured

    def _passed(self, requests: int) -> None:
        self.sent += requests
        self._place += requests + self._connections  # wrk does not count those under way when its time was over
