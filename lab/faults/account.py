"""The callers' account against the log: what was lost, what is there twice, what is not as it was answered."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Any

from lab.faults.ledger import Answered, Ledger
from lab.faults.log_store import Counted, Logged

BATCH_ROWS = 1_000

Payload = Mapping[str, Any]
Recompute = Callable[[str, Sequence[Payload]], list[float]]
SentPayload = Callable[[str], Payload]


@dataclass(frozen=True)
class Account:
    """`unheard`: rows whose answer reached no caller, as when a process dies between commit and answer.

    `wrong`: answers that differ from their row, rows that differ from what was sent or from a recomputation.
    `canary_errors`: callers who got an error for an event that was routed to a canary.
    """

    answered: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    canary_errors: int = 0
    unheard: int = 0

    @property
    def balanced(self) -> bool:
        return self.lost == self.doubled == self.wrong == self.canary_errors == 0


def reconcile(ledger: Ledger, rows: Iterable[Logged], sent: SentPayload, recompute: Recompute) -> Account:
    """`sent(event_id)` is the payload that was sent; `recompute(artifact_sha256, payloads)` scores it again."""
    times: Counter[str] = Counter()
    wrong = ledger.contradicted
    canary_errors = 0
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        times.update(row.prediction_id for row in batch if row.score is not None)
        wrong += sum(not _as_answered(row, ledger.answers.get(row.prediction_id)) for row in batch)
        wrong += sum(not _as_sent(row, sent(row.event_id)) for row in batch)
        wrong += _not_recomputed([row for row in batch if row.score is not None], recompute)
        canary_errors += sum(row.arm == "canary" and row.score is None for row in batch)
    return Account(
        answered=ledger.answered,
        lost=len(ledger.answers.keys() - times.keys()),
        doubled=sum(count - 1 for count in times.values()),
        wrong=wrong,
        canary_errors=canary_errors,
        unheard=len(times.keys() - ledger.answers.keys()),
    )


def add_counted(account: Account, answered: int, found: Counted) -> Account:
    """With events that were sent once each, of which only how many were answered is known."""
    return replace(
        account,
        answered=account.answered + answered,
        lost=account.lost + max(0, answered - found.ids),
        doubled=account.doubled + found.rows - found.ids,
    )


def _as_answered(row: Logged, answer: Answered | None) -> bool:
    """True for a row that was answered so, or that nobody heard of."""
    return answer is None or answer == Answered(
        row.event_id, row.score or 0.0, row.decision or "", row.model_id, row.variant
    )


def _as_sent(row: Logged, payload: Payload) -> bool:
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


def _not_recomputed(rows: Sequence[Logged], recompute: Recompute) -> int:
    """Rows whose score is not, to the last bit, what their artifact gives for their logged payload."""
    by_artifact: dict[str, list[Logged]] = {}
    for row in rows:
        by_artifact.setdefault(row.artifact_sha256, []).append(row)
    wrong = 0
    for artifact, group in by_artifact.items():
        scores = recompute(artifact, [json.loads(row.payload) for row in group])
        wrong += sum(row.score != score for row, score in zip(group, scores, strict=True))
    return wrong
