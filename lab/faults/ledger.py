"""What was sent and what came back: the callers' side of the account."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Answered(NamedTuple):
    """One answer as its caller has it; `payload_of` is the number of the event, and so of the payload sent."""

    event_id: str
    score: float
    decision: str
    model_id: str
    variant: str


@dataclass
class Ledger:
    """`sent` counts requests, `broken` those whose connection ended before an answer: they are sent again.
    `unreached`: tries to connect while nobody listened, before a request was sent.

    `contradicted`: answers that differ from an earlier one of the same prediction id.
    `refused` by status; `without_retry_after` counts refusals (429, 503) that do not say when to come back.
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
    seconds: list[float] = field(default_factory=list)

    def answer(self, event_id: str, answer: dict[str, Any], seconds: float) -> None:
        self.answered += 1
        self.seconds.append(seconds)
        given = Answered(event_id, answer["score"], answer["decision"], answer["model_id"], answer["variant"])
        if self.answers.setdefault(answer["prediction_id"], given) != given:
            self.contradicted += 1

    def refusal(self, status: int, detail: str, retry_after: bool) -> None:
        self.refused[status] += 1
        self.details[f"{status} {detail}"] += 1
        if status in (429, 503) and not retry_after:
            self.without_retry_after += 1
