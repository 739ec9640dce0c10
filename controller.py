"""The controller process: canary evaluation, labels, partitions and retention; the API and console on port 3000."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import logging
import signal
import socket
import sys
import time

import uvicorn
from starlette.types import ASGIApp

from archive.completeness import CHECK_SECONDS, LogCheck
from archive.job import EVERY_SECONDS, FIRST_SECONDS, ArchiveJob
from backtest.jobs.job import EVERY_SECONDS as BACKTEST_SECONDS
from backtest.jobs.job import BacktestJob
from canary.controller import upkeep
from canary.controller.jobs import Controller, PeriodicJob
from canary.controller.sources import Sources
from console.app import ConsoleApp
from console.pages import Console
from edge import api
from edge.control.app import control_app
from edge.control.routes import Resources
from edge.http.protocol import DirectProtocol
from monitoring import profile_store
from monitoring import store as monitoring_store
from monitoring.cohorts.counter import LOOK_SECONDS as COHORT_SECONDS
from monitoring.cohorts.counter import drop_counted
from monitoring.cohorts.job import CohortJob
from monitoring.guard import BUCKET_SECONDS
from monitoring.profiler import LOOK_SECONDS, Profiler
from monitoring.watch import Watch
from registry.artifacts import open_store
from runtime import metrics
from runtime.auth import Authenticator
from runtime.build import running_build
from runtime.logs import configure_logs
from runtime.postgres import PoolerInBetween, refuse_pooler
from runtime.settings import Settings, SettingsInvalid
from scoring.reasons import store as reasons_store
from scoring.reasons.explainers import Explainers
from scoring.reasons.importance import ImportanceJob

log = logging.getLogger("sira.controller")

DRAIN_SECONDS = 5
# Of its pages and its API: as many as people and a page that renews itself use at the same time.
KEPT_CONNECTIONS = 4
# Failed ticks before a fault is reported.
LATE_TICKS = 4


class Readiness:
    """Ready once Postgres was reached: a later outage is a fault, not a reason to restart."""

    def __init__(self, controller: Controller, tick_seconds: float) -> None:
        self._controller = controller
        self._late_seconds = LATE_TICKS * tick_seconds

    def not_ready_because(self) -> list[str]:
        return (
            ["Postgres has not been reached yet: is DATABASE_URL right?"] if self._controller.last_tick is None else []
        )

    def faults(self) -> list[str]:
        age = time.monotonic() - (self._controller.last_tick or 0.0)
        return [f"no canary was judged for {age:.0f} s: is Postgres reachable?"] if age > self._late_seconds else []


def main() -> None:
    try:
        settings = Settings.load()
        Authenticator(settings)  # reads an identity provider's keys: a fault of theirs ends the start with one line
        refuse_pooler(settings.database_url.get_secret_value())
    except (SettingsInvalid, PoolerInBetween) as invalid:
        sys.exit(f"controller: {invalid}")
    configure_logs()
    try:
        listening = socket.create_server((settings.controller_host, settings.control_port), backlog=256)
    except OSError as error:
        sys.exit(f"controller: CONTROL_PORT {settings.control_port} cannot be opened: {error.strerror}")
    archiving, backtests = ArchiveJob(settings.retention_days), BacktestJob()
    backtest_job = PeriodicJob("run_backtests", BACKTEST_SECONDS, backtests.work, first=BACKTEST_SECONDS)
    controller = Controller(
        settings, (*monitoring_jobs(settings), *log_jobs(settings, archiving), importance_job(settings), backtest_job)
    )
    config = uvicorn.Config(
        _app(settings, controller),
        http=DirectProtocol,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    # uvicorn raises its signal again after it has stopped; that must not end the process before the jobs do.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda number, frame: None)
    metrics.record_build(running_build())
    controller.start()
    log.info("started", extra={"port": settings.control_port})
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        archiving.stop()
        backtests.stop()
        controller.stop()
        log.info("stopped")


def monitoring_jobs(settings: Settings) -> tuple[PeriodicJob, ...]:
    """The jobs that watch production."""
    profiler = Profiler(open_store(settings.model_bucket), settings.model_dir)
    cohorts = CohortJob(settings.label_maturity_days)
    return (
        PeriodicJob("profile_inputs", LOOK_SECONDS, profiler.look, first=10),
        PeriodicJob("drop_profiles", 3600, profile_store.drop_profiles, first=150),
        PeriodicJob("watch_decisions", BUCKET_SECONDS, Watch().look, first=5),
        PeriodicJob("drop_decisions", 3600, monitoring_store.drop_decisions, first=120),
        PeriodicJob("count_cohorts", COHORT_SECONDS, cohorts.look, first=20),
        PeriodicJob("drop_counted", 86_400, drop_counted, first=180),
    )


def log_jobs(settings: Settings, archiving: ArchiveJob) -> tuple[PeriodicJob, ...]:
    """The jobs that maintain the tables of the log. With the archive on, only it drops days, once it has them."""
    make = PeriodicJob("make_reasons_partitions", 3600, reasons_store.make_partitions)
    check = PeriodicJob("check_log", CHECK_SECONDS, LogCheck().work, first=20)
    if settings.archive:
        return make, check, PeriodicJob("archive", EVERY_SECONDS, archiving.work, first=FIRST_SECONDS)
    days = settings.retention_days
    return (
        make,
        check,
        PeriodicJob("drop_partitions", 3600, lambda c: upkeep.drop_partitions(c, retention_days=days), first=60),
        PeriodicJob("drop_reasons_partitions", 3600, lambda c: reasons_store.drop_partitions(c, days), first=60),
    )


def importance_job(settings: Settings) -> PeriodicJob:
    """The job that computes which fields matter to each version."""
    explainers = Explainers(open_store(settings.model_bucket), rows=settings.reasons_background_rows)
    return PeriodicJob("compute_importance", 60, ImportanceJob(explainers).run, first=15)


def _app(settings: Settings, controller: Controller) -> ASGIApp:
    health = Readiness(controller, settings.canary_tick_seconds)
    resources = Resources(
        settings.database_url.get_secret_value(),
        open_store(settings.model_bucket),
        settings.prometheus_url,
        settings.alertmanager_url,
        settings.require_reference,
        settings.ignores_alerts,
        settings.reasons_background_rows,
        settings.model_bucket if settings.archive else None,
        settings.label_maturity_days,
        KEPT_CONNECTIONS,
    )
    authenticator = Authenticator(settings)

    def observe(route: str, status: int) -> None:
        metrics.http_requests.labels(route, str(status)).inc()

    routes = api.control_routes(health.not_ready_because, health.faults)
    console = Console(resources, Sources(settings.alertmanager_url, settings.prometheus_url), authenticator)
    return ConsoleApp(console, control_app(routes, resources, authenticator, observe), observe)


if __name__ == "__main__":
    main()
