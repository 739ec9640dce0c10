"""A file becomes a registered version: check, upload, insert. Safe to repeat."""

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry import RegistryError, store
from registry.artifacts import ArtifactStore, Progress
from registry.model_check import DEFAULT_LIMITS, Checked, Limits, ModelRefused, check_model
from registry.model_version import ModelVersion, NewVersion, Thresholds, ThresholdsInvalid
from runtime.postgres import Connection

_PRODUCT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:+-]*")


class RegistrationRefused(RegistryError):
    """Every reason at once."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("not registered: " + "; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the person who registers says of a version; the rest is read from the file.

    `features` name a tensor's columns, `positive` is the class label that means fraud, `review` and `block` are the
    thresholds: each overrides the file's metadata.
    """

    product: str
    name: str
    version: str
    features: tuple[str, ...] | None = None
    positive: str | None = None
    review: float | None = None
    block: float | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """`created` is false when the very same version was registered before."""

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
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> Registered:
    """Check a file, store it, and insert its row.

    Uses short transactions of its own on `connection`, which must be in none: the check and the upload between them
    may take minutes. Raises RegistrationRefused, VersionExists and ArtifactError.
    """
    checked, thresholds = _checked(path, declaration, limits)
    with connection.transaction():
        existing = store.find_version(connection, declaration.product, declaration.name, declaration.version)
    if existing:
        store.check_same(existing, sha256=checked.sha256, signature=checked.signature, thresholds=thresholds)
    key = artifacts.put(path, checked.sha256, progress)
    new = NewVersion(
        product=declaration.product,
        name=declaration.name,
        version=declaration.version,
        storage_s3_key=key,
        sha256=checked.sha256,
        size_bytes=checked.size_bytes,
        signature=checked.signature,
        thresholds=thresholds,
        metadata=checked.metadata,
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
    limits: Limits = DEFAULT_LIMITS,
) -> Registered:
    """As `register`, of an artifact that is already in the store under any key; it is kept under its sha256 too."""
    with tempfile.TemporaryDirectory(prefix="sira-register-") as folder:
        path = artifacts.download(key, limits.max_bytes, Path(folder))
        return register(connection, artifacts, path, declaration, actor=actor, reason=reason, limits=limits)


def _checked(path: Path, declaration: Declaration, limits: Limits) -> tuple[Checked, Thresholds]:
    faults = _identity_faults(declaration)
    checked, thresholds = None, None
    try:
        checked = check_model(path, features=declaration.features, positive=declaration.positive, limits=limits)
        thresholds = _thresholds(declaration, checked.thresholds)
    except (ModelRefused, ThresholdsInvalid) as refused:
        faults.extend(refused.faults)
    if faults or checked is None or thresholds is None:
        raise RegistrationRefused(faults)
    return checked, thresholds


def _identity_faults(declaration: Declaration) -> list[str]:
    found = []
    if not _PRODUCT.fullmatch(declaration.product):
        found.append("product must be 1 to 64 of a-z 0-9 _ . - and start with a letter or digit")
    for what, text, longest in (("name", declaration.name, 128), ("version", declaration.version, 64)):
        if len(text) > longest or not _LABEL.fullmatch(text):
            found.append(f"{what} must be 1 to {longest} of A-Z a-z 0-9 _ . : + - and start with a letter or digit")
    return found


def _thresholds(declaration: Declaration, metadata: str | None) -> Thresholds:
    """Those of the declaration over those of the file; raises ThresholdsInvalid."""
    try:
        values = json.loads(metadata) if metadata is not None else {}
    except ValueError:
        values = None
    if not isinstance(values, dict) or not set(values) <= {"review", "block"}:
        raise ThresholdsInvalid(['sira.thresholds must be {"review": 0.5, "block": 0.9}'])
    declared = {"review": declaration.review, "block": declaration.block}
    values |= {name: value for name, value in declared.items() if value is not None}
    if missing := sorted({"review", "block"} - set(values)):
        raise ThresholdsInvalid([f"no {' and no '.join(missing)}: give it, or put sira.thresholds into the model"])
    return Thresholds(**values)
