"""A registered model version, the statuses it may have, and the changes between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import msgspec

from registry import RegistryError
from registry.reason_codes import ReasonCode, codes_of
from registry.reference import Reference
from registry.signature import Signature


class Status(StrEnum):
    """The role of a version. Traffic goes to production, and to the canary of a running rollout."""

    STAGING = "staging"
    CANARY = "canary"
    PRODUCTION = "production"
    RETIRED = "retired"
    ARCHIVED = "archived"
    ROLLED_BACK = "rolled_back"


# Mirrors sira_registry_guard() of migration 001, which decides.
ALLOWED_CHANGES: dict[Status, frozenset[Status]] = {
    Status.STAGING: frozenset({Status.CANARY, Status.PRODUCTION, Status.ARCHIVED}),
    Status.CANARY: frozenset({Status.PRODUCTION, Status.STAGING, Status.ROLLED_BACK, Status.ARCHIVED}),
    Status.PRODUCTION: frozenset({Status.RETIRED}),
    Status.RETIRED: frozenset({Status.PRODUCTION, Status.ARCHIVED}),
    Status.ROLLED_BACK: frozenset({Status.STAGING, Status.ARCHIVED}),
    Status.ARCHIVED: frozenset(),
}

# What a person may request; retired and rolled_back are set by a change to another version.
PROMOTE_TARGETS = (Status.PRODUCTION, Status.CANARY, Status.STAGING, Status.ARCHIVED)


class ThresholdsInvalid(RegistryError):
    """Every fault of a pair of thresholds at once."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("thresholds: " + "; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores of at least `review` are reviewed, of at least `block` are blocked: 0 <= review <= block <= 1."""

    review: float
    block: float

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be a number from 0 to 1"
            for name in ("review", "block")
            if isinstance(value := getattr(self, name), bool)
            or not isinstance(value, int | float)
            or not 0 <= value <= 1
        ]
        if not faults and self.review > self.block:
            faults = ["review must not be above block"]
        if faults:
            raise ThresholdsInvalid(faults)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """From `{"review": 0.5, "block": 0.9}`; raises ThresholdsInvalid."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as invalid:
            raise ThresholdsInvalid([str(invalid)]) from None


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A checked and stored artifact, ready to be a row of the registry."""

    product: str
    name: str
    version: str
    storage_s3_key: str
    sha256: str
    size_bytes: int
    signature: Signature
    thresholds: Thresholds
    metadata: dict[str, Any]
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One row of siramodel_registry. Only `status` and `updated_at` ever change.

    `reference` is None for a version that was registered without reference rows.
    """

    model_id: str
    product: str
    name: str
    version: str
    status: Status
    storage_s3_key: str
    sha256: str
    size_bytes: int
    signature: Signature
    thresholds: Thresholds
    metadata: dict[str, Any]
    created_at: datetime
    created_by: str
    updated_at: datetime
    reference: Reference | None = None

    @property
    def reason_codes(self) -> tuple[ReasonCode, ...]:
        """The codes for the fields that drive its decisions."""
        return codes_of(self.metadata)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for HTTP and for `--json`; times in RFC 3339."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]
