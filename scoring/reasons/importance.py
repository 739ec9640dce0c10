"""Compute which fields matter to each version: mean absolute impacts over its background and over a week's traffic."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from registry.feed import PayloadInvalid, Row
from registry.importance import Events, FieldImportance
from registry.store import get_version
from runtime.postgres import Connection
from scoring.errors import ReasonsUnavailable
from scoring.reasons import store
from scoring.reasons.explainers import ExplainedVersion, Explainers

log = logging.getLogger("sira.scoring.reasons.importance")

TRAFFIC_ROWS = 1_000
# Each of these takes thousands of runs of the model.
MAX_SAMPLED_ROWS = 64
# Until a version without a background is tried again.
RETRY_SECONDS = 600.0
MAX_TOGETHER = 256


class ImportanceJob:
    """A periodic job of the controller: new versions soon after their registration, traffic once a day."""

    def __init__(self, explainers: Explainers) -> None:
        self._explainers = explainers
        self._retry_at: dict[str, float] = {}

    def run(self, connection: Connection) -> int:
        """Compute what is due; return the number of versions. `connection` is in autocommit mode.

        Of several controllers, the first does it: a lock of its connection keeps the others away.
        """
        if not store.reasons_exist(connection) or not store.lock_importance(connection):
            return 0
        now = time.monotonic()
        self._retry_at = {model_id: at for model_id, at in self._retry_at.items() if at > now}
        due = store.importance_due(connection, skip=[*self._retry_at], few=MAX_SAMPLED_ROWS)
        return sum(self._compute(connection, model_id) for model_id in due)

    def _compute(self, connection: Connection, model_id: str) -> bool:
        try:
            explained = self._explainers.of(connection, get_version(connection, model_id))
            payloads = store.traffic_payloads(connection, explained.version.product, TRAFFIC_ROWS)
            traffic = _readable(explained, payloads)
            for events, rows in (("background", explained.rows), ("traffic", traffic)):
                if rows:
                    _store(connection, explained, events, rows)  # type: ignore[arg-type]
        except ReasonsUnavailable:
            traffic = []
        except Exception as error:
            log.warning("importance_failed", extra={"model_id": model_id, "error": type(error).__name__}, exc_info=True)
            traffic = []
        if not traffic:
            self._retry_at[model_id] = time.monotonic() + RETRY_SECONDS
        return bool(traffic)


def _readable(explained: ExplainedVersion, payloads: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the payloads as the version reads them, without those that it cannot read."""
    rows = []
    for payload in payloads:
        try:
            rows.append(explained.feed.row(payload))
        except PayloadInvalid:
            continue
    return rows


def _store(connection: Connection, explained: ExplainedVersion, events: Events, rows: Sequence[Row]) -> None:
    explainer = explained.explainer
    together = MAX_TOGETHER
    if explainer.method == "sampled":
        rows, together = rows[:MAX_SAMPLED_ROWS], 1
    total = np.zeros(len(explained.names))
    for first in range(0, len(rows), together):
        part = rows[first : first + together]
        seeds = [f"{explained.version.model_id} {events} {first + place}" for place in range(len(part))]
        total += np.abs(explainer.explain(part, seeds).values).sum(axis=0)
    means = dict(zip(explained.names, (total / len(rows)).tolist(), strict=True))
    fields = [FieldImportance(name, means[name]) for name in sorted(means, key=lambda name: -means[name])]
    store.store_importance(
        connection,
        model_id=explained.version.model_id,
        events=events,
        rows=len(rows),
        background_sha256=explained.background.sha256,
        method=explainer.method,
        scale=explainer.scale,
        fields=fields,
    )
