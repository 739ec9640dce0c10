"""The bodies with which operators start, change and steer a canary."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from canary.limits import Limits, Mode, Percent
from canary.plan import DEFAULT_PLAN, Plan
from registry.reason import Reason

_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

Product = Annotated[str, Meta(min_length=1, max_length=64)]
ModelId = Annotated[str, Meta(pattern=_UUID, extra={"expected": "must be the model_id of a registered version"})]


class CanaryToStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Start a canary, or give the running one another percentage: then the model ids may be left out.

    A `production_model_id` that is not the current one is refused. `plan`: steps, or the name "default".
    """

    product: Product
    canary_percent: Percent
    canary_model_id: ModelId | None = None
    production_model_id: ModelId | None = None
    plan: Plan | Literal["default"] | None = None
    limits: Limits | None = None
    mode: Mode | None = None
    reason: Reason | None = None

    def __post_init__(self) -> None:
        """Write ids as the registry does."""
        for name in ("canary_model_id", "production_model_id"):
            if model_id := getattr(self, name):
                msgspec.structs.force_setattr(self, name, model_id.lower())

    @property
    def chosen_plan(self) -> Plan | None:
        return DEFAULT_PLAN if self.plan == "default" else self.plan


class WithReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reason for the audit log."""

    reason: Reason | None = None
