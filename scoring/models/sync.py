"""Keeps the serving snapshot in line with the registry: fetch, verify, load, warm up, then swap.

NOTIFY triggers a read; a poll is the fallback. After a failure the old snapshot continues to serve, and the reason is
published. Until the first answer from Postgres, the versions of the local record serve, without canaries.
"""

import gc
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import psycopg

from canary.limits import Limits, routed_percent
from canary.split import UNJUDGED_SECONDS, Split
from registry.artifacts import ArtifactStore
from registry.model_version import ModelVersion, Status
from registry.store import serving_versions
from runtime import metrics
from runtime.postgres import Connection, connect
from runtime.reading import read
from scoring.control_group import RunningControlGroup
from scoring.models.control_slots import ControlSlots
from scoring.models.last_served import LastServed
from scoring.models.loader import ModelLoader
from scoring.models.onnx_model import OnnxModel
from scoring.models.slots import ModelSlots, ProductSlot, ServedRollout, Snapshot
from scoring.models.store import RunningRollout, control_groups, running_rollouts, tripped_breakers

log = logging.getLogger("sira.scoring.model_sync")

CHANNEL = "sira_serving"
SHADOW_PERCENT = 10.0
WAIT_SECONDS = 0.25
LOAD_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The models and splits to serve, the products whose breaker has tripped, and the control groups that are on."""

    versions: tuple[ModelVersion, ...]
    rollouts: tuple[RunningRollout, ...]
    breakers: frozenset[str] = frozenset()
    control_groups: tuple[RunningControlGroup, ...] = ()


class ModelSync:
    """A thread that follows the registry. `synced_once` is set once every product has a production model loaded."""

    def __init__(
        self, slots: ModelSlots, store: ArtifactStore, model_dir: Path, database_url: str, *, poll_seconds: float
    ) -> None:
        self._slots = slots
        self._loader = ModelLoader(store, model_dir)
        self._last_served = LastServed(model_dir)
        self._control = ControlSlots()
        self._database_url = database_url
        self._poll_seconds = poll_seconds
        self._served: set[tuple[str, str, str, str]] = set()
        self._read_at = time.monotonic()
        self._stopping = threading.Event()
        self.synced_once = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-sync", daemon=True)

    def start(self) -> None:
        self._loader.start()
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        self._stopping.set()
        self._thread.join(timeout_seconds)
        self._loader.stop(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with connect(self._database_url, name="model-sync", autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._follow(connection)
                    self._control.give_back(connection)
            except psycopg.Error as error:
                log.warning("registry_unreachable", extra={"error": type(error).__name__, "sqlstate": error.sqlstate})
                if isinstance(error, psycopg.OperationalError):
                    self._serve_last()
            except Exception:
                log.exception("model_sync_failed")
            if time.monotonic() - self._read_at > UNJUDGED_SECONDS:
                self._stop_canaries()
            self._stopping.wait(min(1.0, self._poll_seconds))

    def _follow(self, connection: Connection) -> None:
        while not self._stopping.is_set():
            self.sync(_read(connection))
            self._read_at = time.monotonic()
            # Wait in short steps, to serve a newly loaded model at once and to notice a stop. One notification is
            # enough: the read that follows sees everything.
            waited = 0.0
            while waited < self._poll_seconds and not self._stopping.is_set() and not self._loader.changed.is_set():
                self._control.refill(connection)
                if list(connection.notifies(timeout=WAIT_SECONDS, stop_after=1)):
                    break
                waited += WAIT_SECONDS

    def _serve_last(self) -> None:
        """Serve the versions of the local record that load quickly, unless the registry has been read before."""
        if self._slots.current().synced or self.synced_once.is_set() or not (versions := self._last_served.read()):
            return
        self._loader.want(versions, retry_failed=True)
        model_ids = {version.model_id for version in versions}
        deadline = time.monotonic() + LOAD_SECONDS
        while model_ids - {*self._loader.models, *self._loader.failures} and time.monotonic() < deadline:
            self._loader.changed.wait(WAIT_SECONDS)
            self._loader.changed.clear()
        log.warning("models_restored_from_disk", extra={"products": len(versions)})
        self.sync(Wanted(versions, ()), from_registry=False)

    def sync(self, wanted: Wanted, *, from_registry: bool = True) -> None:
        """Swap in the wanted snapshot as far as its models are loaded, and have the loader load the others.

        `from_registry` is False when `wanted` comes from the local record.
        """
        # A failure that was reported just now is retried at the next poll or change of the registry.
        retry_failed = not self._loader.changed.is_set()
        self._loader.changed.clear()
        self._loader.want(wanted.versions, retry_failed=retry_failed)
        snapshot = self._snapshot(wanted, from_registry=from_registry)
        self._slots.swap(snapshot)
        products = snapshot.products
        serving = {slot.production.version.model_id for slot in products.values()}
        self._loader.retain(serving | {version.model_id for version in wanted.versions})
        self._publish(products, snapshot.waiting)
        metrics.serving_last_served.set(not from_registry)
        if from_registry:
            self._last_served.record(
                products[version.product].production.version if version.product in products else version
                for version in wanted.versions
                if version.status is Status.PRODUCTION
            )
        if not snapshot.waiting and not self.synced_once.is_set():
            # These objects stay for the life of the process: exclude them from collections, which paused for 100 ms.
            gc.collect()
            gc.freeze()
            self.synced_once.set()

    def _snapshot(self, wanted: Wanted, *, from_registry: bool) -> Snapshot:
        """Return what can be served of `wanted` with the models that are loaded now."""
        before = self._slots.current()
        rollouts = {rollout.product: rollout for rollout in wanted.rollouts}
        control = self._control.served(wanted.control_groups)
        products: dict[str, ProductSlot] = {}
        waiting: dict[str, str] = {}
        faults: dict[str, str] = {}
        for version in wanted.versions:
            if version.status is not Status.PRODUCTION:
                continue
            product = version.product
            production = self._loader.models.get(version.model_id)
            failure = self._loader.failures.get(version.model_id)
            if production is None:
                if product not in before.products:
                    waiting[product] = failure or f"model {version.model_id} is being loaded"
                    continue
                # The new model is not loaded: the old one continues to serve.
                production = before.products[product].production
            rollout = self._rollout(rollouts.get(product), production)
            if rollout is None and product in rollouts:
                failure = failure or self._loader.failures.get(rollouts[product].canary_model_id)
            if failure:
                faults[product] = failure
            products[product] = ProductSlot(
                product, production, rollout, product in wanted.breakers, control.get(product)
            )  # fmt: skip
        return Snapshot(products, waiting, faults, synced=from_registry)

    def _stop_canaries(self) -> None:
        """Stop all canaries: after so long without the registry it is unknown whether anyone judges them."""
        current = self._slots.current()
        if any(slot.rollout for slot in current.products.values()):
            log.error("canaries_stopped_unjudged")
            products = {product: replace(slot, rollout=None) for product, slot in current.products.items()}
            self._slots.swap(replace(current, products=products))

    def _rollout(self, row: RunningRollout | None, production: OnnxModel) -> ServedRollout | None:
        """Return the rollout to route; None without a row, before its model is loaded, or once it is production."""
        canary = self._loader.models.get(row.canary_model_id) if row else None
        if row is None or canary is None or canary is production:
            return None
        if row.unjudged_seconds > UNJUDGED_SECONDS:
            return None
        limits = read(Limits, row.limits)
        salt = UUID(row.rollout_id).bytes
        return ServedRollout(
            rollout_id=row.rollout_id,
            phase=row.phase,
            split=Split(row.rollout_id, salt, routed_percent(row.canary_percent, limits)),
            shadow=Split(row.rollout_id, salt + b"shadow", SHADOW_PERCENT if row.canary_percent == 0 else 0.0),
            timeout_seconds=limits.timeout_seconds,
            canary=canary,
            same_fields=canary.version.signature.fields == production.version.signature.fields,
        )

    def _publish(self, products: Mapping[str, ProductSlot], waiting: Mapping[str, str]) -> None:
        metrics.products_without_production.set(len(waiting))
        served = set()
        for slot in products.values():
            models = [(slot.production.version, "production")]
            if slot.rollout:
                models.append((slot.rollout.canary.version, "canary"))
            served |= {(slot.product, version.model_id, version.version, variant) for version, variant in models}
            metrics.canary_percent.labels(slot.product).set(slot.rollout.split.percent if slot.rollout else 0.0)
            metrics.breaker_tripped.labels(slot.product).set(slot.breaker)
        for labels in self._served - served:
            metrics.model_info.labels(*labels).set(0)
        for labels in served:
            metrics.model_info.labels(*labels).set(1)
            metrics.begin_at_zero(labels[0], labels[3])
        self._served |= served


def _read(connection: Connection) -> Wanted:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return Wanted(
            tuple(serving_versions(connection)),
            tuple(running_rollouts(connection)),
            tripped_breakers(connection),
            control_groups(connection),
        )
