"""The rows of siramodel_registry. Every function runs in the caller's transaction and commits nothing."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from registry import RegistryError, audit
from registry.audit import QUERIES
from registry.model_version import ALLOWED_CHANGES, ModelVersion, NewVersion, Status, Thresholds
from registry.reason_codes import codes_of
from registry.reference import Reference
from registry.signature import Signature
from runtime.postgres import Connection

MAX_PAGE = 500
DEFAULT_PAGE = 50


class ModelNotFound(RegistryError):
    def __init__(self, reference: str) -> None:
        super().__init__(f"no model version {reference}; `python -m registry list` shows what is registered")


class VersionExists(RegistryError):
    """The name is taken by a version with other contents."""

    def __init__(self, existing: ModelVersion, differs: list[str]) -> None:
        self.existing = existing
        super().__init__(
            f"{existing.product}/{existing.name}/{existing.version} is already registered as {existing.model_id} with "
            f"another {' and '.join(differs)}; a version never changes: register under a new version"
        )


class StatusChangeRefused(RegistryError):
    def __init__(self, version: ModelVersion, target: Status, remedy: str) -> None:
        self.version = version
        self.target = target
        label = f"{version.product}/{version.name}/{version.version}"
        super().__init__(f"{label} is {version.status} and cannot become {target}: {remedy}")


class CursorInvalid(RegistryError):
    def __init__(self) -> None:
        super().__init__("the cursor is not one that this list returned: start without a cursor")


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Versions, newest first. `total` counts all that match; `next_cursor` is None on the last page."""

    versions: tuple[ModelVersion, ...]
    total: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class StatusChange:
    """`version` as it is now; `retired` is the production version it replaced, if any."""

    version: ModelVersion
    before: Status
    retired: ModelVersion | None


def insert_version(
    connection: Connection, new: NewVersion, *, actor: str, reason: str | None = None
) -> tuple[ModelVersion, bool]:
    """Return the row and whether it is new; an existing version with the same contents is returned unchanged.

    Raises VersionExists when the name is taken by other contents.
    """
    audit.lock_writes(connection)
    if existing := find_version(connection, new.product, new.name, new.version):
        check_same(
            existing,
            sha256=new.sha256,
            signature=new.signature,
            thresholds=new.thresholds,
            reason_codes=codes_of(new.metadata),
            reference=existing.reference if _same_reference(existing.reference, new.reference) else new.reference,
        )
        return existing, False
    values = {
        **{name: getattr(new, name) for name in NewVersion.__slots__},
        "signature": Jsonb(new.signature.to_json()),
        "thresholds": Jsonb({"review": new.thresholds.review, "block": new.thresholds.block}),
        "metadata": Jsonb(new.metadata),
        "reference": None if new.reference is None else Jsonb(msgspec.to_builtins(new.reference)),
        "created_by": actor,
    }
    query = "insert_version" if new.reference is None else "insert_checked_version"
    version = _one(connection, query, values)
    assert version is not None
    after = {"status": version.status, "sha256": version.sha256, **_identity(version)}
    audit.append(
        connection,
        actor=actor,
        action="model.registered",
        subject=version.model_id,
        before=None,
        after=after,
        reason=reason,
    )
    return version, True


def check_same(existing: ModelVersion, **contents: object) -> None:
    """Raise VersionExists naming each of `contents` that differs from the existing version."""
    if differs := [name for name, value in contents.items() if getattr(existing, name) != value]:
        raise VersionExists(existing, differs)


def _same_reference(existing: Reference | None, new: Reference | None) -> bool:
    """Return whether the same rows were checked; a check without rows changes nothing, and its figures may differ."""
    return new is None or (existing is not None and existing.sha256 == new.sha256)


def get_version(connection: Connection, model_id: str) -> ModelVersion:
    """Return the version; raises ModelNotFound, also for text that is not a UUID."""
    version = _one(connection, "get_version", {"model_id": model_id}) if _is_uuid(model_id) else None
    if version is None:
        raise ModelNotFound(model_id)
    return version


def find_version(connection: Connection, product: str, name: str, version: str) -> ModelVersion | None:
    """Return the version, or None."""
    return _one(connection, "find_version", {"product": product, "name": name, "version": version})


def resolve(connection: Connection, reference: str) -> ModelVersion:
    """Return the version with a model_id or a `product/name/version`; raises ModelNotFound."""
    parts = reference.split("/")
    if len(parts) != 3:
        return get_version(connection, reference)
    if version := find_version(connection, *parts):
        return version
    raise ModelNotFound(reference)


def list_versions(
    connection: Connection,
    *,
    product: str | None = None,
    status: Status | None = None,
    limit: int = DEFAULT_PAGE,
    cursor: str | None = None,
) -> VersionPage:
    """Return at most `limit` (1 to MAX_PAGE) versions; raises CursorInvalid."""
    limit = min(max(limit, 1), MAX_PAGE)
    before, after_id = _read_cursor(cursor) if cursor else (None, None)
    matching = {"product": product, "status": status}
    page = _all(connection, "list_versions", {**matching, "before": before, "after_id": after_id, "limit": limit + 1})
    with connection.cursor(row_factory=dict_row) as counting:
        counted = counting.execute(QUERIES["count_versions"], matching).fetchone()
    assert counted is not None
    more = len(page) > limit
    versions = tuple(page[:limit])
    return VersionPage(versions, counted["total"], _write_cursor(versions[-1]) if more else None)


def production_of(connection: Connection, product: str) -> ModelVersion | None:
    """Return a product's production version, or None."""
    return _one(connection, "production_of", {"product": product})


def serving_versions(connection: Connection) -> tuple[ModelVersion, ...]:
    """Return each product's production version and each live rollout's canary: what every worker must load."""
    return tuple(_all(connection, "serving_versions", {}))


def change_status(
    connection: Connection, model_id: str, target: Status, *, actor: str, reason: str | None = None
) -> StatusChange:
    """Set a version's status; promotion to production retires the current one in the same transaction.

    Requesting the status that it already has changes nothing. Raises ModelNotFound and StatusChangeRefused.
    """
    audit.lock_writes(connection)
    version = get_version(connection, model_id)
    if version.status == target:
        return StatusChange(version, target, None)
    if remedy := _refusal(connection, version, target):
        raise StatusChangeRefused(version, target, remedy)
    retired = None
    if target is Status.PRODUCTION and (current := production_of(connection, version.product)):
        why = f"replaced by {version.name} {version.version}"
        retired = _set_status(connection, current, Status.RETIRED, actor, why)
    changed = _set_status(connection, version, target, actor, reason)
    return StatusChange(changed, version.status, retired)


def _refusal(connection: Connection, version: ModelVersion, target: Status) -> str | None:
    """Return what must be done first, or None when the change is allowed."""
    if version.status is Status.PRODUCTION:
        return f"promote another version of {version.product} to production first, which retires this one"
    if target not in ALLOWED_CHANGES[version.status]:
        allowed = ", ".join(sorted(ALLOWED_CHANGES[version.status]))
        return (
            f"from {version.status} it may become {allowed}" if allowed else "archived is final: register a new version"
        )
    if target in (Status.ARCHIVED, Status.STAGING):
        with connection.cursor(row_factory=dict_row) as cursor:
            rollout = cursor.execute(QUERIES["rollout_using"], {"model_id": version.model_id}).fetchone()
        if rollout:
            return f"a {rollout['status']} rollout uses it; POST /v1/canary/{version.product}/stop first"
    return None


def _set_status(
    connection: Connection, version: ModelVersion, target: Status, actor: str, reason: str | None
) -> ModelVersion:
    changed = _one(connection, "set_status", {"model_id": version.model_id, "status": target})
    assert changed is not None
    audit.append(
        connection,
        actor=actor,
        action="model.status_changed",
        subject=version.model_id,
        before={"status": version.status, **_identity(version)},
        after={"status": changed.status, **_identity(changed)},
        reason=reason,
    )
    return changed


def _identity(version: ModelVersion) -> dict[str, str]:
    return {"product": version.product, "name": version.name, "version": version.version}


def _all(connection: Connection, query: str, values: Mapping[str, Any]) -> list[ModelVersion]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_from_row(row) for row in cursor.execute(QUERIES[query], values)]


def _one(connection: Connection, query: str, values: Mapping[str, Any]) -> ModelVersion | None:
    return next(iter(_all(connection, query, values)), None)


def _from_row(row: Mapping[str, Any]) -> ModelVersion:
    # A later migration may have added columns, and one of ours may not have run yet.
    columns: dict[str, Any] = {name: row.get(name) for name in ModelVersion.__slots__}
    columns |= {
        "model_id": str(row["model_id"]),
        "status": Status(row["status"]),
        "signature": Signature.from_json(row["signature"]),
        "thresholds": Thresholds.from_json(row["thresholds"]),
        "reference": msgspec.convert(row.get("reference"), Reference | None),
    }
    return ModelVersion(**columns)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _write_cursor(last: ModelVersion) -> str:
    return base64.urlsafe_b64encode(f"{last.created_at.isoformat()} {last.model_id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        created_at, _, model_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        return datetime.fromisoformat(created_at), UUID(model_id)
    except ValueError:
        raise CursorInvalid from None
