"""Score the kept reference rows of registered versions again: what an upgrade of onnxruntime must pass."""

from pathlib import Path
from typing import Literal

import msgspec

from registry import RegistryError
from registry.artifacts import ArtifactStore
from registry.inspection.reference_check import Differences, compare
from registry.model_session import RUNTIME_VERSION, ModelSession
from registry.model_version import ModelVersion
from registry.reference import REFERENCE_SUFFIX, ReferenceRows

Result = Literal["passed", "differs", "failed", "no reference"]


class VersionCheck(msgspec.Struct, frozen=True):
    """The result of scoring one version's kept rows on this runtime; `detail` is the reason of a failure."""

    model_id: str
    product: str
    name: str
    version: str
    status: str
    result: Result
    runtime: str = RUNTIME_VERSION
    rows: int = 0
    max_difference: float | None = None
    differences: Differences | None = None
    detail: str | None = None


def check_version(version: ModelVersion, artifacts: ArtifactStore, folder: Path) -> VersionCheck:
    """Fetch a version and its kept rows into `folder`, and compare every score with the trainer's."""
    found = VersionCheck(
        version.model_id, version.product, version.name, version.version, str(version.status), "no reference"
    )
    reference = version.reference
    if reference is None:
        return found
    try:
        path = artifacts.fetch(version.storage_s3_key, version.sha256, version.size_bytes, folder)
        stored = artifacts.fetch(reference.key, reference.sha256, reference.size_bytes, folder, suffix=REFERENCE_SUFFIX)
        kept = ReferenceRows.from_bytes(stored.read_bytes()).rows
        session = ModelSession(version.signature, path)
        rows = [session.feed.row(row.payload) for row in kept]
        expected = [row.score for row in kept]
        compared = compare(version.signature, rows, expected, reference.tolerance, session.score)
    except RegistryError as error:
        return msgspec.structs.replace(found, result="failed", detail=str(error))
    except Exception as error:  # onnxruntime's own, whose text may quote values
        return msgspec.structs.replace(found, result="failed", detail=f"{type(error).__name__} while scoring")
    return msgspec.structs.replace(
        found,
        result="differs" if compared.differences else "passed",
        rows=len(kept),
        max_difference=compared.max_difference,
        differences=compared.differences,
    )
