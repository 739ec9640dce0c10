"""The task that keeps the serving snapshot true to the registry: fetch, verify, load, warm up, then swap.

NOTIFY wakes it, a poll is the net. Whatever fails, the old snapshot serves on and the reason is kept. Until Postgres
has answered once, what was served here last is served, without canaries.
"""

import gc
import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import psycopg

from canary.limits import parse_limits, routed_percent
from canary.split import UNJUDGED_SECONDS, Split
from registry.artifacts import ArtifactStore
from registry.model_version import ModelVersion, Status
from registry.store import serving_versions
from runtime import metrics
from runtime.postgres import Connection, connect
from scoring.last_served import LastServed
from scoring.model_loader import ModelLoader
from scoring.model_slots import ModelSlots, ProductSlot, Rollout, Snapshot
from scoring.onnx_model import OnnxModel
from scoring.store import RunningRollout, running_rollouts

log = logging.getLogger("sira.scoring.model_sync")

CHANNEL = "sira_serving"
SHADOW_PERCENT = 10.0
WAIT_SECONDS = 0.25
LOAD_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the registry says should be served."""

    versions: tuple[ModelVersion, ...]
    rollouts: tuple[RunningRollout, ...]


class ModelSync:
    """A thread that follows the registry. `synced_once` is set when every product has a production model loaded."""

    def __init__(
        self, slots: ModelSlots, store: ArtifactStore, model_dir: Path, database_url: str, *, poll_seconds: float
    ) -> None:
        self._slots = slots
        self._loader = ModelLoader(store, model_dir)
        self._last_served = LastServed(model_dir)
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
            # Short waits, so that a model just loaded is served at once, and a stop is noticed; one notification is
            # enough, the read after it sees everything.
            waited = 0.0
            while waited < self._poll_seconds and not self._stopping.is_set() and not self._loader.changed.is_set():
                if list(connection.notifies(timeout=WAIT_SECONDS, stop_after=1)):
                    break
                waited += WAIT_SECONDS

    def _serve_last(self) -> None:
        """Unless the registry has been read: what this machine served last, as far as it is loaded in a moment."""
        if self._slots.current().synced or self.synced_once.is_set() or not (versions := self._last_served.read()):
            return
        self._loader.want(versions, again=True)
        model_ids = {version.model_id for version in versions}
        deadline = time.monotonic() + LOAD_SECONDS
        while model_ids - {*self._loader.models, *self._loader.failures} and time.monotonic() < deadline:
            self._loader.changed.wait(WAIT_SECONDS)
            self._loader.changed.clear()
        log.warning("last_served_serves", extra={"products": len(versions)})
        self.sync(Wanted(versions, ()), told=False)

    def sync(self, wanted: Wanted, *, told: bool = True) -> None:
        """Make the snapshot as wanted, as far as its models are loaded, and swap it in; the loader sees to the rest.

        `told` by the registry, and not just remembered.
        """
        # A failure that has only just been told is tried again at the next poll or change of the registry.
        again = not self._loader.changed.is_set()
        self._loader.changed.clear()
        self._loader.want(wanted.versions, again=again)
        before = self._slots.current()
        rollouts = {rollout.product: rollout for rollout in wanted.rollouts}
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
                # The new model is not loaded: the old one serves on.
                production = before.products[product].production
            rollout = self._rollout(rollouts.get(product), production)
            if rollout is None and product in rollouts:
                failure = failure or self._loader.failures.get(rollouts[product].canary_model_id)
            if failure:
                faults[product] = failure
            products[product] = ProductSlot(product, production, rollout)
        self._slots.swap(Snapshot(products, waiting, faults, synced=told))
        serving = {slot.production.version.model_id for slot in products.values()}
        self._loader.forget_all_but(serving | {version.model_id for version in wanted.versions})
        self._publish(products, waiting)
        metrics.serving_last_served.set(not told)
        if told:
            self._last_served.keep(
                products[version.product].production.version if version.product in products else version
                for version in wanted.versions
                if version.status is Status.PRODUCTION
            )
        if not waiting and not self.synced_once.is_set():
            # What is loaded now stays: keep the collector from walking it (it took pauses of 100 ms).
            gc.collect()
            gc.freeze()
            self.synced_once.set()

    def _stop_canaries(self) -> None:
        """Cut off from the registry for so long, this process cannot know whether anyone judges."""
        current = self._slots.current()
        if any(slot.rollout for slot in current.products.values()):
            log.error("canaries_stopped_unjudged")
            products = {product: replace(slot, rollout=None) for product, slot in current.products.items()}
            self._slots.swap(replace(current, products=products))

    def _rollout(self, row: RunningRollout | None, production: OnnxModel) -> Rollout | None:
        """The rollout a worker can route, or None: no such row, its model is not here, or it is production by now."""
        canary = self._loader.models.get(row.canary_model_id) if row else None
        if row is None or canary is None or canary is production:
            return None
        if row.unjudged_seconds > UNJUDGED_SECONDS:
            return None
        limits = parse_limits(row.limits)
        salt = UUID(row.rollout_id).bytes
        return Rollout(
            rollout_id=row.rollout_id,
            phase=row.phase,
            split=Split(row.rollout_id, salt, routed_percent(row.canary_percent, limits)),
            shadow=Split(row.rollout_id, salt + b"shadow", SHADOW_PERCENT if row.canary_percent == 0 else 0.0),
            timeout_seconds=limits.timeout_seconds,
            canary=canary,
            same_fields=canary.version.signature.fields == production.version.signature.fields,
        )

    def _publish(self, products: dict[str, ProductSlot], waiting: dict[str, str]) -> None:
        metrics.products_without_production.set(len(waiting))
        served = set()
        for slot in products.values():
            models = [(slot.production.version, "production")]
            if slot.rollout:
                models.append((slot.rollout.canary.version, "canary"))
            served |= {(slot.product, version.model_id, version.version, variant) for version, variant in models}
            metrics.canary_percent.labels(slot.product).set(slot.rollout.split.percent if slot.rollout else 0.0)
        for labels in self._served - served:
            metrics.model_info.labels(*labels).set(0)
        for labels in served:
            metrics.model_info.labels(*labels).set(1)
            metrics.begin_at_zero(labels[0], labels[3])
        self._served |= served


def _read(connection: Connection) -> Wanted:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return Wanted(tuple(serving_versions(connection)), tuple(running_rollouts(connection)))
