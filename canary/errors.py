"""The errors of this package."""


class CanaryError(Exception):
    """Base of this package's errors."""


class PlanInvalid(CanaryError):
    """A plan or its limits cannot be used. `faults` names every field that must change, and how."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("correct the plan: " + "; ".join(faults))
