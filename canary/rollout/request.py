"""The body of POST /v1/canary, read with every fault at once."""

from dataclasses import dataclass
from typing import Any, get_args
from uuid import UUID

from canary.errors import CanaryError, PlanInvalid
from canary.limits import Limits, Mode, parse_limits
from canary.plan import Plan, parse_plan

MAX_REASON_LENGTH = 1_000


class RequestInvalid(CanaryError):
    """`faults` names every field that must change, and how."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("correct the request: " + "; ".join(faults))


@dataclass(frozen=True, slots=True)
class CanaryRequest:
    """Start a canary, or change the percentage of the running one. None means not given."""

    product: str
    canary_percent: float
    canary_model_id: str | None = None
    production_model_id: str | None = None
    plan: Plan | None = None
    limits: Limits | None = None
    mode: Mode | None = None
    reason: str | None = None


def parse_request(body: object) -> CanaryRequest:
    """Raises RequestInvalid."""
    if not isinstance(body, dict):
        raise RequestInvalid(["the body must be a JSON object"])
    faults = [f"{name}: no such field" for name in body.keys() - set(CanaryRequest.__slots__)]
    faults += [f"{name}: is missing" for name in ("product", "canary_percent") if body.get(name) is None]
    given = {name: value for name, value in body.items() if name in CanaryRequest.__slots__ and value is not None}
    fields = {name: _read(name, value, faults) for name, value in given.items()}
    if faults:
        raise RequestInvalid(sorted(faults))
    return CanaryRequest(**fields)


def parse_reason(body: object) -> str | None:
    """The reason in the optional body `{"reason": "..."}` of stop, pause, resume and promote. Raises RequestInvalid."""
    if body is None:
        return None
    if not isinstance(body, dict):
        raise RequestInvalid(["the body must be a JSON object"])
    faults = [f"{name}: no such field" for name in sorted(body.keys() - {"reason"})]
    reason = body.get("reason")
    read = None if reason is None else _read("reason", reason, faults)
    if faults:
        raise RequestInvalid(faults)
    return read


def _read(name: str, value: Any, faults: list[str]) -> Any:
    try:
        if name == "plan":
            return parse_plan(value)
        if name == "limits":
            return parse_limits(value)
    except PlanInvalid as invalid:
        faults += invalid.faults
        return None
    fault = _fault(name, value)
    if fault:
        faults.append(f"{name}: {fault}")
    return value.lower() if name.endswith("_model_id") and not fault else value


def _fault(name: str, value: Any) -> str | None:
    if name == "canary_percent":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number and 0 <= value <= 100 else "must be a number from 0 to 100"
    if name == "mode":
        return None if value in get_args(Mode) else f"must be {' or '.join(get_args(Mode))}"
    if not isinstance(value, str):
        return "must be text"
    if name.endswith("_model_id"):
        return None if _is_uuid(value) else "must be the model_id of a registered version"
    longest = MAX_REASON_LENGTH if name == "reason" else 64
    return None if 1 <= len(value) <= longest else f"must have 1 to {longest} characters"


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
