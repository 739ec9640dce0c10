"""The parts of a serving process, started and stopped in order."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from typing import Any

from edge.control.routes import Resources
from edge.http.counters import HttpCounters
from edge.infer import InferEndpoint
from edge.open_inference.endpoint import OpenInference
from registry.artifacts import open_store
from registry.model_version import ModelVersion
from runtime import metrics
from runtime.auth import Authenticator
from runtime.build import running_build
from runtime.settings import Settings
from scoring.log.shipper import Shipper
from scoring.log.spool import Spool
from scoring.models.slots import ModelSlots
from scoring.models.sync import ModelSync
from scoring.reasons.worker.queue import ReasonsQueue
from scoring.reasons.worker.ready import ReadyExplainers
from scoring.reasons.worker.shares import Shares
from scoring.scorer import Scorer
from scoring.telemetry import Telemetry

log = logging.getLogger("sira.edge.serving")

PUBLISH_SECONDS = 0.5
# How long a starting process waits to be ready before it accepts connections.
READY_SECONDS = 10.0


class Serving:
    """Spool, shipper, model sync and scorer of one worker. Make it on the event loop it serves on."""

    def __init__(self, settings: Settings) -> None:
        database_url = settings.database_url.get_secret_value()
        artifacts = open_store(settings.model_bucket)
        self.counters = HttpCounters()
        self._telemetry = Telemetry()
        self.authenticator = Authenticator(settings)
        self.resources = Resources(
            database_url,
            artifacts,
            settings.prometheus_url,
            settings.alertmanager_url,
            settings.require_reference,
            settings.ignores_alerts,
            settings.reasons_background_rows,
            settings.model_bucket if settings.archive else None,
            settings.label_maturity_days,
        )
        self._slots = ModelSlots()
        self._spool = Spool.open(settings.spool_dir, limit_bytes=settings.spool_max_bytes)
        self._shipper = Shipper(self._spool, settings.spool_dir, database_url)
        self._sync = ModelSync(
            self._slots, artifacts, settings.model_dir, database_url, poll_seconds=settings.sync_poll_seconds
        )
        self._reasons = ReasonsQueue(
            ReadyExplainers(self.resources.explainers, database_url, self._served_versions),
            self._spool,
            Shares(settings.reasons_shares),
        )
        self._scorer = Scorer(
            self._slots,
            self._spool,
            self._telemetry,
            cache_max_items=settings.cache_max_items,
            process=f"{socket.gethostname()}/{os.getpid()}",
            reasons=self._reasons,
        )
        self.infer = InferEndpoint(
            self._scorer,
            self.authenticator,
            self.counters,
            max_concurrency=settings.max_concurrency,
            timeout_seconds=settings.body_timeout_seconds,
        )
        self.open_inference = OpenInference(self.infer, self._slots, self.not_ready_because)
        self._ticking: asyncio.Task[None] | None = None
        self._draining = False

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_failed_callback)
        metrics.record_build(running_build())
        self._shipper.start()
        self._sync.start()
        self._reasons.start()
        self._ticking = loop.create_task(self._tick())

    async def until_ready(self, seconds: float) -> None:
        """Wait until ready, for at most `seconds`: a worker without a model would fail its share of the calls."""
        deadline = time.monotonic() + seconds
        while self.not_ready_because() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    async def stop(self, *, drain_seconds: float) -> None:
        """Call after the last answer: stop the model sync, ship for up to `drain_seconds`, close the spool."""
        self._draining = True
        if self._ticking:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        self._scorer.close()
        await asyncio.to_thread(self._reasons.stop, 1.0)
        await asyncio.to_thread(self._sync.stop, 1.0)
        await asyncio.to_thread(self._shipper.stop, drain_seconds)
        await asyncio.to_thread(self._spool.close)
        self._publish()
        log.info("stopped")

    def not_ready_because(self) -> list[str]:
        """Return reasons for not being ready. After the first complete load, a model that cannot load is a fault."""
        reasons = []
        if self._draining:
            reasons.append("this process is stopping")
        snapshot = self._slots.current()
        if not self._sync.synced_once.is_set():
            if not snapshot.synced:
                reasons.append("the registry has not been read yet: is DATABASE_URL reachable?")
            reasons += [f"product {product}: {reason}" for product, reason in sorted(snapshot.waiting.items())]
        if not self._spool.writable:
            reasons.append("the prediction log cannot be written: is the spool's disk full?")
        return reasons

    def faults(self) -> list[str]:
        """Return problems that do not prevent scoring but need attention."""
        snapshot = self._slots.current()
        found = {**snapshot.faults, **(snapshot.waiting if self._sync.synced_once.is_set() else {})}
        faults = [f"product {product}: {reason}" for product, reason in sorted(found.items())]
        if not snapshot.synced:
            faults.append(
                "the registry has not been read since the start: the models that were served here last are in use"
            )
        return faults

    def _served_versions(self) -> list[ModelVersion]:
        slots = self._slots.current().products.values()
        return [
            model.version
            for slot in slots
            for model in (slot.production, slot.rollout and slot.rollout.canary)
            if model
        ]

    def _publish(self) -> None:
        self._telemetry.publish()
        self.counters.publish()
        self._spool.take_commits().publish(metrics.log_commit)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            self.infer.sweep(time.monotonic())
            metrics.http_in_flight.set(self.infer.in_flight)
            metrics.workers_ready.set(not self.not_ready_because())
            self._publish()


def _log_failed_callback(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of a callback: BentoML's logging configuration disables asyncio's own logger."""
    log.error("callback_failed", exc_info=context.get("exception"))
