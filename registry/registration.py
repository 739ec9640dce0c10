"""Register a file as a version: inspect, upload, insert. Safe to repeat."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from registry import RegistryError, store
from registry.artifacts import ArtifactStore, Progress
from registry.inspection.metadata import ModelMetadata
from registry.inspection.parent import (
    DEFAULT_LIMITS,
    Inspected,
    InspectionLimits,
    KeptReference,
    ModelRefused,
    ReferenceRequest,
    inspect_model,
)
from registry.inspection.reference_check import Differences
from registry.model_version import ModelVersion, NewVersion, Thresholds, ThresholdsInvalid
from registry.reason_codes import ReasonCode, codes_of
from registry.reference import REFERENCE_SUFFIX, Reference
from registry.signature import Value
from runtime.postgres import Connection

_PRODUCT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:+-]*")


class RegistrationRefused(RegistryError):
    """Every reason at once; `differences` say how reference rows differ, if they do."""

    def __init__(self, faults: Sequence[str], differences: Differences | None = None) -> None:
        self.faults = tuple(faults)
        self.differences = differences
        super().__init__("not registered: " + "; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class Declaration:
    """The caller's declarations about a version; the rest is read from the file. Each overrides the file's metadata.

    `features` name a tensor's columns, `positive` is the class label that means fraud, `output` the output that holds
    the probability. `review` and `block` are the thresholds. `nullable` fields may be null or absent, those with a
    `default` may be absent. `rename` maps a payload field to the model's name for it. `reason_codes` replace
    those of the file.
    """

    product: str
    name: str
    version: str
    features: tuple[str, ...] | None = None
    positive: str | None = None
    review: float | None = None
    block: float | None = None
    output: str | None = None
    nullable: tuple[str, ...] | Literal["all"] = ()
    defaults: Mapping[str, Value] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    reason_codes: tuple[ReasonCode, ...] | None = None

    def metadata(self) -> ModelMetadata:
        declared = {"review": self.review, "block": self.block}
        return ModelMetadata(
            features=self.features,
            positive=self.positive,
            output=self.output,
            nullable=self.nullable,
            defaults=dict(self.defaults),
            rename=dict(self.rename),
            thresholds={name: value for name, value in declared.items() if value is not None},
            reasons=self.reason_codes,
        )


@dataclass(frozen=True, slots=True)
class Registered:
    """`created` is false when the same version was registered before."""

    version: ModelVersion
    created: bool


def register(
    connection: Connection,
    artifacts: ArtifactStore,
    path: Path,
    declaration: Declaration,
    *,
    actor: str,
    reason: str | None = None,
    reference: ReferenceRequest | None = None,
    limits: InspectionLimits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> Registered:
    """Inspect a file, check it against reference rows if given, store both, and insert the version's row.

    `connection` must not be in a transaction: this uses short ones of its own, because the inspection and the upload
    between them may take minutes. Raises RegistrationRefused, VersionExists and ArtifactError.
    """
    inspected, thresholds = _inspect(path, declaration, reference, limits)
    with connection.transaction():
        existing = store.find_version(connection, declaration.product, declaration.name, declaration.version)
    if existing:
        store.check_same(
            existing,
            sha256=inspected.sha256,
            signature=inspected.signature,
            thresholds=thresholds,
            reason_codes=codes_of(inspected.metadata),
        )
    key = artifacts.put(path, inspected.sha256, progress)
    kept = None if inspected.reference is None else _store_reference(artifacts, inspected.reference)
    new = NewVersion(
        product=declaration.product,
        name=declaration.name,
        version=declaration.version,
        storage_s3_key=key,
        sha256=inspected.sha256,
        size_bytes=inspected.size_bytes,
        signature=inspected.signature,
        thresholds=thresholds,
        metadata=inspected.metadata,
        reference=kept,
    )
    with connection.transaction():
        return Registered(*store.insert_version(connection, new, actor=actor, reason=reason))


def register_stored(
    connection: Connection,
    artifacts: ArtifactStore,
    key: str,
    declaration: Declaration,
    *,
    actor: str,
    reason: str | None = None,
    reference: ReferenceRequest | None = None,
    limits: InspectionLimits = DEFAULT_LIMITS,
) -> Registered:
    """Register an artifact that is in the store under any key, and copy it to its sha256 key; raises as `register`."""
    with tempfile.TemporaryDirectory(prefix="sira-register-") as folder:
        path = artifacts.download(key, limits.max_bytes, Path(folder))
        return register(
            connection, artifacts, path, declaration, actor=actor, reason=reason, reference=reference, limits=limits
        )


def _store_reference(artifacts: ArtifactStore, kept: KeptReference) -> Reference:
    """Store the kept rows as an artifact of their own."""
    with tempfile.TemporaryDirectory(prefix="sira-reference-") as folder:
        path = Path(folder) / "rows"
        path.write_bytes(kept.content)
        key = artifacts.put(path, kept.sha256, suffix=REFERENCE_SUFFIX)
    return Reference(
        key=key,
        sha256=kept.sha256,
        size_bytes=len(kept.content),
        rows=kept.rows,
        kept=kept.kept,
        labelled=kept.labelled,
        tolerance=kept.tolerance,
        max_difference=kept.max_difference,
    )


def _inspect(
    path: Path, declaration: Declaration, reference: ReferenceRequest | None, limits: InspectionLimits
) -> tuple[Inspected, Thresholds]:
    faults = _identity_faults(declaration)
    inspected, thresholds, differences = None, None, None
    try:
        inspected = inspect_model(path, declaration.metadata(), reference=reference, limits=limits)
        thresholds = _thresholds(inspected.thresholds)
    except ModelRefused as refused:
        faults.extend(refused.faults)
        differences = refused.differences
    except ThresholdsInvalid as invalid:
        faults.extend(invalid.faults)
    if faults or inspected is None or thresholds is None:
        raise RegistrationRefused(faults, differences)
    return inspected, thresholds


def _identity_faults(declaration: Declaration) -> list[str]:
    found = []
    if not _PRODUCT.fullmatch(declaration.product):
        found.append("product must be 1 to 64 of a-z 0-9 _ . - and start with a letter or digit")
    for what, text, max_length in (("name", declaration.name, 128), ("version", declaration.version, 64)):
        if len(text) > max_length or not _LABEL.fullmatch(text):
            found.append(f"{what} must be 1 to {max_length} of A-Z a-z 0-9 _ . : + - and start with a letter or digit")
    return found


def _thresholds(values: dict[str, Any]) -> Thresholds:
    """Raises ThresholdsInvalid."""
    if missing := sorted({"review", "block"} - set(values)):
        raise ThresholdsInvalid([f"no {' and no '.join(missing)}: give it, or put sira.thresholds into the model"])
    return Thresholds(**values)
