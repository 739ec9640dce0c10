"""The thread that fetches, verifies, opens and warms up models, so that a slow download delays nothing else."""

import logging
import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from registry.artifacts import ArtifactStore
from registry.model_version import ModelVersion
from registry.reference import REFERENCE_SUFFIX, Reference, ReferenceRows
from runtime import metrics
from scoring.errors import ReferenceMismatch
from scoring.models.onnx_model import OnnxModel

log = logging.getLogger("sira.scoring.model_loader")


class ModelLoader:
    """Loaded models and reasons of failures, by model_id. `changed` is set after every change of either."""

    def __init__(self, store: ArtifactStore, model_dir: Path) -> None:
        self._store = store
        self._model_dir = model_dir
        self._models: dict[str, OnnxModel] = {}
        self._failures: dict[str, str] = {}
        self._wanted: tuple[ModelVersion, ...] = ()
        self._asked = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="model-loader", daemon=True)
        self.changed = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        self._stopping = True
        self._asked.set()
        self._thread.join(timeout_seconds)

    @property
    def models(self) -> Mapping[str, OnnxModel]:
        return self._models

    @property
    def failures(self) -> Mapping[str, str]:
        return self._failures

    def want(self, versions: Iterable[ModelVersion], *, retry_failed: bool) -> None:
        """Load missing versions, and failed ones again if `retry_failed`; stop loading versions that are not listed."""
        done = {*self._models, *(() if retry_failed else self._failures)}
        self._wanted = tuple(version for version in versions if version.model_id not in done)
        if self._wanted:
            self._asked.set()

    def retain(self, model_ids: Collection[str]) -> None:
        """Drop every model and failure except these."""
        for known in (self._models, self._failures):
            for model_id in known.keys() - model_ids:
                known.pop(model_id)

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._stopping:
                return
            for version in self._wanted:
                if self._stopping:
                    return
                if version in self._wanted:  # it may be obsolete after a download that took minutes
                    self._load(version)

    def _load(self, version: ModelVersion) -> None:
        try:
            path = self._store.fetch(version.storage_s3_key, version.sha256, version.size_bytes, self._model_dir)
            model = OnnxModel(version, path)
            if version.reference is not None:
                model.check_reference(self._reference_rows(version.reference))
            self._models[version.model_id] = model
        except Exception as error:
            reason = type(error).__name__
            # Anyone may read why a process is not ready: the text of other errors may hold keys and paths.
            detail = str(error) if isinstance(error, ReferenceMismatch) else reason
            self._failures[version.model_id] = f"model {version.model_id} is not loaded: {detail}"
            metrics.model_load_failures.labels(version.product, reason).inc()
            log.error("model_load_failed", extra={"model_id": version.model_id, "reason": reason}, exc_info=True)
        else:
            self._failures.pop(version.model_id, None)
            log.info("model_loaded", extra={"model_id": version.model_id, "product": version.product})
        self.changed.set()

    def _reference_rows(self, reference: Reference) -> ReferenceRows:
        path = self._store.fetch(
            reference.key, reference.sha256, reference.size_bytes, self._model_dir, suffix=REFERENCE_SUFFIX
        )
        return ReferenceRows.from_bytes(path.read_bytes())
