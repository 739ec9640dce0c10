"""The actor and the reason of a change to a rollout."""

from dataclasses import dataclass

CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Change:
    """What the audit log records of a change besides its before and after."""

    actor: str
    reason: str | None = None


def by_controller(reason: str) -> Change:
    return Change(CONTROLLER, reason)
