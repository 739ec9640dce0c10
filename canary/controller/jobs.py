"""The controller's jobs and their schedule; the only file that uses APScheduler."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler

from canary.controller import upkeep
from canary.controller.gauges import Gauges
from canary.controller.sources import Sources
from canary.controller.state_cache import StateCache
from canary.controller.tick import tick
from canary.judge.evidence import BUCKET_SECONDS
from canary.labels.store import count_labels
from runtime import metrics
from runtime.postgres import Connection, connect
from runtime.settings import Settings

log = logging.getLogger("sira.canary.scheduler")

FUSE_CHANNEL = "sira_fuse"
DAYS_AHEAD = 7
# Allowed difference between the clocks of this process and of Postgres, whose clock seals the buckets.
AFTER_SEAL_SECONDS = 0.25
# Another controller takes over when the holder has not acted for this many ticks.
STALE_TICKS = 1.5
LONG_STATEMENT_MS = 600_000


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """Work that runs every `seconds`, `first` seconds after the start, with a connection of its own in autocommit.

    It returns how many things it did, and must be safe to run in every controller at once.
    """

    name: str
    seconds: float
    work: Callable[[Connection], int]
    first: float = 0.0


class Controller:
    """Judge every canary and maintain the tables. Any number may run: a lease lets one judge; locks serialise upkeep.

    `last_tick`: time.monotonic() of the last tick that reached Postgres, as holder of the lease or not.
    """

    def __init__(self, settings: Settings, more_jobs: Sequence[PeriodicJob] = ()) -> None:
        """`more_jobs` are those of other rooms."""
        self._database_url = settings.database_url.get_secret_value()
        self._holder = f"{socket.gethostname()}/{os.getpid()}"
        self._sources = Sources(settings.alertmanager_url, settings.prometheus_url)
        self._tick_seconds = settings.canary_tick_seconds
        self._retention_days = settings.retention_days
        self._maturity = timedelta(days=settings.label_maturity_days)
        self._gauges = Gauges()
        self._states = StateCache()
        self._connection: Connection | None = None
        self._ticking = threading.Lock()
        self._stopping = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="fuse-listener", daemon=True)
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        )
        self._more_jobs = tuple(more_jobs)
        self.last_tick: float | None = None

    def start(self) -> None:
        self._scheduler.add_listener(_log_error, EVENT_JOB_ERROR)
        self._every(self._tick_seconds, self._tick, first=_until_sealed(time.time()))
        self._every(3600, self._upkeep("count_labels", lambda c: count_labels(c, maturity=self._maturity)), first=10)
        self._every(3600, self._upkeep("make_partitions", lambda c: upkeep.make_partitions(c, days_ahead=DAYS_AHEAD)))
        self._every(
            3600,
            self._upkeep("drop_evidence", lambda c: upkeep.drop_evidence(c, retention_days=self._retention_days)),
            first=90,
        )
        self._every(30, self._upkeep("export_newest_rows", _export_newest_rows), first=5)
        self._every(600, self._upkeep("thin_verdicts", upkeep.thin_verdicts), first=30)
        self._every(3600, self._upkeep("drop_production_errors", upkeep.drop_production_errors), first=30)
        for job in self._more_jobs:
            self._every(job.seconds, self._upkeep(job.name, job.work), first=job.first)
        self._scheduler.start()
        self._listener.start()

    def stop(self) -> None:
        """Stop; return when the running jobs have ended."""
        self._stopping.set()
        self._scheduler.shutdown(wait=True)
        self._listener.join(2.0)
        self._sources.close()
        self._disconnect()

    def _every(self, seconds: float, job: Callable[[], None], first: float = 0.0) -> None:
        begins = datetime.now(UTC) + timedelta(seconds=first)
        self._scheduler.add_job(job, "interval", seconds=seconds, next_run_time=begins)

    def _tick(self) -> None:
        """Wait for a running tick, then judge: a fuse may have opened since that one began."""
        with self._ticking:
            try:
                connection = self._connect()
                judgements = tick(
                    connection,
                    self._holder,
                    self._sources,
                    stale_seconds=STALE_TICKS * self._tick_seconds,
                    cache=self._states,
                )
            except psycopg.Error as error:
                log.warning("tick_failed", extra={"error": type(error).__name__, "sqlstate": error.sqlstate})
                self._disconnect()
                return
            self.last_tick = time.monotonic()
            self._gauges.publish(judgements)

    def _listen(self) -> None:
        """Judge as soon as a serving process reports an open fuse; without a notification the next tick does."""
        while not self._stopping.wait(1.0):
            try:
                with connect(self._database_url, name="fuse-listener", autocommit=True) as connection:
                    connection.execute(f"LISTEN {FUSE_CHANNEL}")
                    while not self._stopping.is_set():
                        if list(connection.notifies(timeout=0.5, stop_after=1)):
                            self._tick()
            except psycopg.Error as error:
                log.warning(
                    "fuse_listener_disconnected", extra={"error": type(error).__name__, "sqlstate": error.sqlstate}
                )

    def _upkeep(self, name: str, work: Callable[[Connection], int]) -> Callable[[], None]:
        """Return a job with its own connection, safe to run in every controller at once."""

        def job() -> None:
            try:
                with connect(
                    self._database_url, name=name, autocommit=True, statement_timeout_ms=LONG_STATEMENT_MS
                ) as connection:
                    done = work(connection)
            except psycopg.Error as error:
                log.error(
                    "upkeep_failed", extra={"job": name, "error": type(error).__name__, "sqlstate": error.sqlstate}
                )
                return
            if done:
                log.info("upkeep_done", extra={"job": name, "rows": done})

        return job

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._database_url, name="tick", autocommit=True)
            # A rollout that another transaction has locked must not block the others, and a controller whose host
            # died during a tick must not block its successor.
            self._connection.execute("SET lock_timeout = '2s'")
            self._connection.execute("SET idle_in_transaction_session_timeout = '10s'")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _export_newest_rows(connection: Connection) -> int:
    """Export each product's newest logged row as Postgres has it; a pod that ships elsewhere cannot report that."""
    for product, newest in upkeep.newest_rows(connection).items():
        metrics.log_newest_row.labels(product).set(newest)
    return 0


def _until_sealed(now: float) -> float:
    """Return the seconds until just after a bucket is sealed, so that each tick finds one sealed moments ago."""
    return BUCKET_SECONDS - now % BUCKET_SECONDS + AFTER_SEAL_SECONDS


def _log_error(event: JobExecutionEvent) -> None:
    log.error("job_failed", exc_info=event.exception)
