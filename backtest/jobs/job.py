"""The controller's job: start the process that runs backtests when one waits."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from backtest.jobs import store
from runtime.postgres import Connection

log = logging.getLogger("sira.backtest")

EVERY_SECONDS = 5.0
ROOT = Path(__file__).parents[2]


class BacktestJob:
    """Runs at most one process of this controller at a time. A backtest whose process dies is taken over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._said_not_migrated = False

    def work(self, connection: Connection) -> int:
        """Start the process if a backtest waits and none runs here; return how many were started."""
        if not store.is_migrated(connection):
            if not self._said_not_migrated:
                self._said_not_migrated = True
                log.warning("backtests_not_migrated", extra={"migration": "008_backtests"})
            return 0
        with self._lock:
            if self._child is not None and self._child.poll() not in (None, 0):
                log.error("backtest_process_failed", extra={"code": self._child.returncode})
            if self._stopped or (self._child is not None and self._child.poll() is None):
                return 0
            self._child = None
            if not store.has_work(connection):
                return 0
            words = [sys.executable, "-m", "backtest.jobs.worker"]
            self._child = subprocess.Popen(words, cwd=ROOT, env=os.environ)
        return 1

    def stop(self) -> None:
        """End a process that runs; another controller takes its backtest over."""
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.terminate()
