"""The callers' ledger compared with the log: what was lost, is there twice, or differs from the answer."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Any

from lab.faults.log_store import EventCount, Logged
from lab.load.ledger import Answered, Ledger

BATCH_ROWS = 1_000

Payload = Mapping[str, Any]
Recompute = Callable[[str, Sequence[Payload]], list[float]]
PayloadOf = Callable[[str], Payload]


@dataclass(frozen=True)
class Reconciliation:
    """`unreceived`: rows whose answer reached no caller, for example because a process died between commit and answer.

    `wrong`: answers that differ from their row, and rows that differ from the payload sent or from a recomputation.
    `canary_errors`: callers who received an error for an event that was routed to a canary.
    """

    answered: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    canary_errors: int = 0
    unreceived: int = 0

    @property
    def balanced(self) -> bool:
        return self.lost == self.duplicated == self.wrong == self.canary_errors == 0


def reconcile(ledger: Ledger, rows: Iterable[Logged], payload_of: PayloadOf, recompute: Recompute) -> Reconciliation:
    """`payload_of(event_id)`: the payload that was sent; `recompute(artifact_sha256, payloads)`: their scores."""
    times: Counter[str] = Counter()
    wrong = ledger.contradicted
    canary_errors = 0
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        times.update(row.prediction_id for row in batch if row.score is not None)
        wrong += sum(not _matches_answer(row, ledger.answers.get(row.prediction_id)) for row in batch)
        wrong += sum(not _matches_payload(row, payload_of(row.event_id)) for row in batch)
        wrong += _count_not_recomputed([row for row in batch if row.score is not None], recompute)
        canary_errors += sum(row.arm == "canary" and row.score is None for row in batch)
    return Reconciliation(
        answered=ledger.answered,
        lost=len(ledger.answers.keys() - times.keys()),
        duplicated=sum(count - 1 for count in times.values()),
        wrong=wrong,
        canary_errors=canary_errors,
        unreceived=len(times.keys() - ledger.answers.keys()),
    )


def add_counted(reconciliation: Reconciliation, answered: int, found: EventCount) -> Reconciliation:
    """Add events that were sent once each and of which only the number of answers is known."""
    return replace(
        reconciliation,
        answered=reconciliation.answered + answered,
        lost=reconciliation.lost + max(0, answered - found.ids),
        duplicated=reconciliation.duplicated + found.rows - found.ids,
    )


def _matches_answer(row: Logged, answer: Answered | None) -> bool:
    """Return whether the row equals the answer; True if no caller received one."""
    return answer is None or answer == Answered(
        row.event_id, row.score or 0.0, row.decision or "", row.model_id, row.variant
    )


def _matches_payload(row: Logged, payload: Payload) -> bool:
    return (
        json.loads(row.payload) == payload
        and row.payload_sha256 == sha256(row.payload.encode()).hexdigest()
        and (row.score is None or row.decision == _decision(row))
    )


def _decision(row: Logged) -> str:
    assert row.score is not None
    if row.score >= row.block_threshold:
        return "block"
    return "review" if row.score >= row.review_threshold else "allow"


def _count_not_recomputed(rows: Sequence[Logged], recompute: Recompute) -> int:
    """Count rows whose score is not, to the last bit, what their artifact returns for the logged payload."""
    by_artifact: dict[str, list[Logged]] = {}
    for row in rows:
        by_artifact.setdefault(row.artifact_sha256, []).append(row)
    wrong = 0
    for artifact, group in by_artifact.items():
        scores = recompute(artifact, [json.loads(row.payload) for row in group])
        wrong += sum(row.score != score for row, score in zip(group, scores, strict=True))
    return wrong
