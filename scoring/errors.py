"""Errors of scoring. Each message tells the caller what to do; none holds a payload value."""

from scoring.log.prediction import Outcome

_REASONS: dict[Outcome, str] = {
    "error": "the production model raised an error on this event; the same event will fail again",
    "non_finite": "the production model gave no probability for this event; the same event will fail again",
    "timeout": "the production model did not score this event in time; try again",
}


class ScoringError(Exception):
    """Base of the errors of scoring."""


class BodyNotJson(ScoringError):
    """The body is not JSON."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the body is not JSON: {reason}")


class ProductUnknown(ScoringError):
    """No version of the product is in production."""

    def __init__(self) -> None:
        super().__init__("no such product: it has no production model (see GET /v1/models?status=production)")


class ModelNotLoaded(ScoringError):
    """The product has a production model, but this process has not loaded it yet."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not ready: {reason}")


class ModelUnusable(ScoringError):
    """The artifact cannot be loaded, or cannot score its warm-up or reference rows; it never reaches traffic."""

    def __init__(self, model_id: str, reason: str) -> None:
        super().__init__(f"model {model_id} cannot serve: {reason}")


class ReferenceMismatch(ModelUnusable):
    """A reference row gets another score here than its trainer gave it."""


class ScoringFailed(ScoringError):
    """The production model gave no probability for this event; the failure is in the prediction log."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(_REASONS[outcome])


class ReasonsUnavailable(ScoringError):
    """The reasons of a prediction cannot be computed yet, or ever; the message says what is missing."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"there are no reasons for this prediction: {reason}")


class ModelTimedOut(ScoringFailed):
    """The production model took too long: the only failure of a model that a retry may not meet again."""
