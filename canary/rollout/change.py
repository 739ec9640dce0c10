"""A change to a rollout, as transitions record it."""

from dataclasses import dataclass

CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Change:
    """The actor and the reason, for the audit log."""

    actor: str
    reason: str | None = None


def by_controller(reason: str) -> Change:
    return Change(CONTROLLER, reason)
