"""The explainers of model versions: each opened once, with the version's frozen background."""

import contextlib
import math
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import thread_time

from registry.artifacts import ArtifactStore
from registry.feed import Feed, PayloadInvalid, Row
from registry.model_version import ModelVersion
from registry.reason_codes import ReasonCodes
from registry.reference import REFERENCE_SUFFIX, ReferenceRows
from runtime.postgres import Connection
from scoring.errors import ReasonsUnavailable
from scoring.reasons import store
from scoring.reasons.background import Background, ValueClasses, from_log, from_reference
from scoring.reasons.description import FieldReason, field_reasons
from scoring.reasons.explainer import Explainer
from scoring.reasons.explanation import Impacts

DEFAULT_ROWS = 128
# Tables of a few MB each.
MAX_OPEN = 8
# Logged payloads that are looked at for each row of a background: a new version may take fields that few have.
_LOOKED_AT = 4
_MEASURED = 3


@dataclass(frozen=True, slots=True)
class ExplainedVersion:
    """A version with all that its explanations need. `seconds`: the processor time of one, infinite if sampled."""

    version: ModelVersion
    background: Background
    rows: Sequence[Row]
    feed: Feed
    explainer: Explainer
    classes: ValueClasses
    names: Sequence[str]
    codes: ReasonCodes
    seconds: float

    def reasons(self, impacts: Impacts, rows: Sequence[Row], top: int | None = None) -> list[list[FieldReason]]:
        """Return the reasons of each event of `impacts`, whose values are in `rows`."""
        return field_reasons(impacts, self.names, self.classes.of, self.codes, rows, top)


class Explainers:
    """Opens explainers on first use and keeps the ones used last. Safe to share between threads."""

    def __init__(self, artifacts: ArtifactStore, *, rows: int = DEFAULT_ROWS) -> None:
        self._artifacts = artifacts
        self._rows = rows
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, str], ExplainedVersion] = OrderedDict()

    def of(
        self, connection: Connection, version: ModelVersion, against: ModelVersion | None = None
    ) -> ExplainedVersion:
        """Return the version's explainer. `connection` is in autocommit mode: the first call freezes its background.

        With `against`, its background is that of another version, if it can read those payloads. Raises
        ReasonsUnavailable without a background, ArtifactError, and what onnxruntime raises.
        """
        other = against if against is not None and against.model_id != version.model_id else None
        key = version.model_id, (other or version).model_id
        with self._lock:
            found = self._open.get(key)
            if found is None:
                found = self._opened(version, self._readable(connection, version, other))
                self._open[key] = found
                if len(self._open) > MAX_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(key)
            return found

    def _readable(self, connection: Connection, version: ModelVersion, other: ModelVersion | None) -> Background:
        if other is not None:
            background = self._background(connection, other)
            with contextlib.suppress(PayloadInvalid):  # the version takes fields that the other does not
                background.rows(version.signature)
                return background
        return self._background(connection, version)

    def _background(self, connection: Connection, version: ModelVersion) -> Background:
        if not store.reasons_exist(connection):
            raise ReasonsUnavailable("the database lacks migration 003: run `python -m migrations up`")
        if frozen := store.find_background(connection, version.model_id):
            return frozen
        background = self._from_reference(version)
        if background is None:
            payloads = store.allowed_payloads(connection, version.product, _LOOKED_AT * self._rows)
            background = from_log(payloads, version.signature, self._rows)
        if background is None:
            raise ReasonsUnavailable(
                f"the version has no background yet: it is taken from its reference rows, or from {self._rows} events"
                " that production allowed"
            )
        with connection.transaction():
            return store.freeze_background(connection, version.model_id, background)

    def _from_reference(self, version: ModelVersion) -> Background | None:
        kept = version.reference
        if kept is None:
            return None
        with tempfile.TemporaryDirectory(prefix="sira-reasons-") as folder:
            path = self._artifacts.fetch(kept.key, kept.sha256, kept.size_bytes, Path(folder), suffix=REFERENCE_SUFFIX)
            rows = ReferenceRows.from_bytes(path.read_bytes())
        return from_reference(rows, version.thresholds, version.signature, self._rows)

    def _opened(self, version: ModelVersion, background: Background) -> ExplainedVersion:
        signature, rows = version.signature, background.rows(version.signature)
        with tempfile.TemporaryDirectory(prefix="sira-reasons-") as folder:
            path = self._artifacts.fetch(version.storage_s3_key, version.sha256, version.size_bytes, Path(folder))
            artifact = path.read_bytes()
        explainer = Explainer(signature, artifact, rows)
        return ExplainedVersion(
            version,
            background,
            rows,
            Feed(signature),
            explainer,
            ValueClasses(signature, rows),
            [field.name for field in signature.fields],
            ReasonCodes(version.reason_codes),
            _seconds(explainer, rows[0]),
        )


def _seconds(explainer: Explainer, row: Row) -> float:
    if explainer.method == "sampled":
        return math.inf  # trying would take seconds itself
    measured = []
    for _ in range(_MEASURED):
        started = thread_time()
        explainer.explain([row], [""])
        measured.append(thread_time() - started)
    return min(measured)
