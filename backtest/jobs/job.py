"""The controller's job: start the process that runs backtests when one waits, and export how backtests ended."""

import logging

from backtest.jobs import store
from runtime import metrics
from runtime.child_process import ChildProcess
from runtime.postgres import Connection

log = logging.getLogger("sira.backtest")

EVERY_SECONDS = 5.0


class BacktestJob:
    """Runs at most one process at a time. If the controller dies, another takes its backtest over."""

    def __init__(self) -> None:
        self._child = ChildProcess("backtest.jobs.worker")
        self._said_not_migrated = False

    def work(self, connection: Connection) -> int:
        """Start the process if a backtest waits and none runs here; return how many were started."""
        if not store.is_migrated(connection):
            if not self._said_not_migrated:
                self._said_not_migrated = True
                log.warning("backtests_not_migrated", extra={"migration": "008_backtests"})
            return 0
        running = self._child.is_running()
        if not running:
            self._record_death(connection)
        _export_ends(connection)
        return 0 if running or not store.has_work(connection) else int(self._child.start())

    def stop(self) -> None:
        """End a process that runs; another controller takes its backtest over."""
        self._child.stop()

    def _record_death(self, connection: Connection) -> None:
        """Fail the backtest that the last process died of: it would kill every process that takes it over."""
        ended = self._child.ended()
        if ended is None or ended.code == 0:
            return
        log.error("backtest_process_failed", extra={"code": ended.code, "error": ended.last_error})
        if taken := ended.output.split():
            reason = "was it out of memory?" if ended.code < 0 else "the controller's log says why"
            store.fail(connection, taken[-1].decode(), f"its process ended with {ended.code}: {reason}")


def _export_ends(connection: Connection) -> None:
    for count in store.count_by_status(connection):
        metrics.backtests.labels(count.product, count.status).set(count.backtests)
        if count.last_ended is not None:
            metrics.backtest_ended.labels(count.product, count.status).set(count.last_ended.timestamp())
