"""The explainers that a serving process has ready, so that an answer never waits for one."""

import logging
import time
from collections.abc import Callable, Iterable

import psycopg

from registry.model_version import ModelVersion
from runtime.postgres import connect
from scoring.errors import ReasonsUnavailable
from scoring.reasons.explainers import ExplainedVersion, Explainers

log = logging.getLogger("sira.scoring.reasons.ready")

# Tables and models together: a few MB for a usual version. What does not fit is explained by the API only.
MAX_READY_BYTES = 512 << 20
# Until a version that cannot be explained is tried again.
RETRY_SECONDS = 30.0


class ReadyExplainers:
    """`get` may be called from any thread; the thread of the queue opens."""

    def __init__(
        self,
        explainers: Explainers,
        database_url: str,
        served: Callable[[], Iterable[ModelVersion]],
        *,
        max_bytes: int = MAX_READY_BYTES,
    ) -> None:
        """`served` returns the versions that answer at present."""
        self._explainers = explainers
        self._database_url = database_url
        self._served = served
        self._max_bytes = max_bytes
        self._ready: dict[str, ExplainedVersion] = {}
        self._retry_at: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def get(self, model_id: str) -> ExplainedVersion | None:
        """Return a version's explainer if it is ready."""
        return self._ready.get(model_id)

    def open_served(self) -> None:
        """Drop what no longer serves, and open one version that does."""
        served = {version.model_id: version for version in self._served()}
        for gone in [model_id for model_id in self._ready if served and model_id not in served]:
            self._ready.pop(gone)
        now = time.monotonic()
        for model_id, version in served.items():
            if model_id not in self._ready and now >= self._retry_at.get(model_id, 0.0):
                self.open(version)
                return

    def open(self, version: ModelVersion) -> ExplainedVersion | None:
        """Return a version's explainer; None when it cannot be had, until RETRY_SECONDS have passed."""
        model_id = version.model_id
        found = self._ready.get(model_id)
        if found or time.monotonic() < self._retry_at.get(model_id, 0.0):
            return found
        try:
            if sum(map(_bytes, self._ready.values())) >= self._max_bytes:
                raise ReasonsUnavailable("the tables of other versions take all the memory that a worker has for them")
            with connect(self._database_url, name="reasons", autocommit=True) as connection:
                found = self._explainers.of(connection, version)
        except Exception as error:
            self._retry_at[model_id] = time.monotonic() + RETRY_SECONDS
            self._say(version, error)
            return None
        self._ready[model_id] = found
        return found

    def _say(self, version: ModelVersion, error: Exception) -> None:
        """Log why a version cannot be explained, once per version and cause."""
        expected = isinstance(error, ReasonsUnavailable)
        cause = str(error) if expected else type(error).__name__
        if self._said.get(version.model_id) == cause:
            return
        self._said[version.model_id] = cause
        extra = {"model_id": version.model_id, "product": version.product, "reason": cause}
        log.warning("reasons_not_available", extra=extra, exc_info=not (expected or isinstance(error, psycopg.Error)))


def _bytes(explained: ExplainedVersion) -> int:
    return explained.explainer.table_bytes + explained.version.size_bytes
