"""What was sent and what came back, as the callers know it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Answered(NamedTuple):
    """One answer as its caller received it."""

    event_id: str
    score: float
    decision: str
    model_id: str
    variant: str


@dataclass
class Ledger:
    """`sent` counts requests; `broken` those whose connection ended before an answer, which are sent again.

    `unreached`: attempts to connect while no process listened. `refused`: answers that are not 200, by status;
    `without_retry_after`: refusals with 429 or 503 that lack a Retry-After header. `details`: refusals by status and
    problem detail. `answers` by prediction id; `contradicted`: answers that differ from an earlier one of the same
    prediction id. `variants`: answers by the variant that gave the score. `seconds`: from request to answer.
    """

    sent: int = 0
    answered: int = 0
    broken: int = 0
    unreached: int = 0
    contradicted: int = 0
    without_retry_after: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Answered] = field(default_factory=dict)
    variants: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Requests for which the caller got no score."""
        return self.refused.total() + self.broken

    def answer(self, event_id: str, answer: dict[str, Any], seconds: float) -> None:
        self.answered += 1
        self.seconds.append(seconds)
        self.variants[answer["variant"]] += 1
        given = Answered(event_id, answer["score"], answer["decision"], answer["model_id"], answer["variant"])
        if self.answers.setdefault(answer["prediction_id"], given) != given:
            self.contradicted += 1

    def refusal(self, status: int, detail: str, retry_after: bool) -> None:
        self.refused[status] += 1
        self.details[f"{status} {detail}"] += 1
        if status in (429, 503) and not retry_after:
            self.without_retry_after += 1
