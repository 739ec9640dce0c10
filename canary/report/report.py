"""The case for or against promotion, from a rollout's evidence, pairs, labels and verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg.rows import class_row

from canary.intervals import Estimate, weighted_share
from canary.labels.store import LabelOutcome, LabelWeight, label_outcomes, label_weights_of
from canary.report.course import ARMS, QUERIES, ArmTotal, Latency, Scores, TimeSeries, rollout_course, share
from canary.report.flips import MAX_EXPLAINED, FlippedPayload, FlipReasons
from canary.rollout import store
from canary.rollout.description import CanaryDescription, description
from canary.rollout.store import Phase, StoredRollout
from canary.rollout.verdicts import latest_verdict
from runtime.postgres import Connection


@dataclass(frozen=True, slots=True)
class Flip:
    """Events on which the models decide differently. `amount`: the sum over the `amounts` payloads that have one."""

    production_decision: str
    canary_decision: str
    events: int
    amounts: int
    amount: float


@dataclass(frozen=True, slots=True)
class FlippedEvent:
    event_id: str
    amount: float | None
    production_decision: str
    canary_decision: str
    production_score: float
    canary_score: float
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Decisions:
    """`events`: scored by both models; `flips`: those that the models decided differently."""

    events: int
    flips: int
    by_kind: tuple[Flip, ...]
    largest: tuple[FlippedEvent, ...]


@dataclass(frozen=True, slots=True)
class SealedPairs:
    """What both models scored, and decided differently, in the buckets before `through`: they never change."""

    through: datetime
    events: int = 0
    flips: int = 0


@dataclass(frozen=True, slots=True)
class Labels:
    """Outcomes by decision pair, and the share of labelled legitimate events that each model blocks.

    `weighted`: the same share, with each event weighted by 1 / propensity; None without a control group.
    """

    outcomes: tuple[LabelOutcome, ...]
    legitimate: int
    false_positive_rate: Mapping[str, float | None]
    weighted: Mapping[str, Estimate] | None = None


@dataclass(frozen=True, slots=True)
class VerdictRun:
    """Consecutive ticks with the same verdict and action."""

    phase: int
    verdict: str
    action: str
    ticks: int
    first: datetime
    last: datetime
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rollback:
    created_at: datetime
    reason: str
    rolled_back_by: str


@dataclass(frozen=True, slots=True)
class Report:
    """The case for or against promotion of a rollout. `flip_reasons`: None without flips, and on the command line."""

    made_at: datetime
    rollout: CanaryDescription
    phases: tuple[Phase, ...]
    totals: tuple[ArmTotal, ...]
    latency: Mapping[str, Latency]
    course: TimeSeries
    decisions: Decisions
    scores: Scores
    labels: Labels
    verdicts: tuple[VerdictRun, ...]
    rollbacks: tuple[Rollback, ...]
    flip_reasons: FlipReasons | None = None

    def to_json(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]


def make_report(connection: Connection, rollout: StoredRollout) -> Report:
    """Compute the report in the caller's transaction."""
    # Enough to sort a week of buckets in memory; sorting on disk took twice as long.
    connection.execute("SET LOCAL work_mem = '64MB'")
    verdict = latest_verdict(connection, rollout.rollout_id)
    totals = tuple(_rows(connection, ArmTotal, "phase_totals", rollout))
    course, latency, scores = rollout_course(connection, rollout.rollout_id, totals)
    return Report(
        made_at=datetime.now(UTC),
        rollout=description(rollout, verdict),
        phases=tuple(store.phases(connection, rollout.rollout_id)),
        totals=totals,
        latency=latency,
        course=course,
        decisions=paired_decisions(connection, rollout, sealed_pairs(connection, rollout)),
        scores=scores,
        labels=_labels(
            label_outcomes(connection, rollout.rollout_id), label_weights_of(connection, rollout.rollout_id)
        ),
        verdicts=tuple(_rows(connection, VerdictRun, "verdict_runs", rollout)),
        rollbacks=tuple(_rows(connection, Rollback, "rollbacks", rollout)),
    )


def flipped_payloads(connection: Connection, rollout: StoredRollout) -> list[FlippedPayload]:
    """Return a random sample of the events that the models decide differently."""
    return _rows(connection, FlippedPayload, "flipped_payloads", rollout)


def _rows(connection: Connection, kind: type[Any], query: str, rollout: StoredRollout) -> list[Any]:
    values = {
        "rollout_id": rollout.rollout_id,
        "canary_model_id": rollout.canary_model_id,
        "since": rollout.created_at,
        "max_explained": MAX_EXPLAINED,
    }
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(QUERIES[query], values).fetchall()


def sealed_pairs(connection: Connection, rollout: StoredRollout, known: SealedPairs | None = None) -> SealedPairs:
    """Return the sums over the sealed buckets; of those that `known` has, nothing is read again."""
    through = rollout.sealed_through
    if known is None:
        return SealedPairs(through, *_paired_totals(connection, rollout, None, through))
    events, flips = _paired_totals(connection, rollout, known.through, through)
    return SealedPairs(max(known.through, through), known.events + events, known.flips + flips)


def paired_decisions(connection: Connection, rollout: StoredRollout, sealed: SealedPairs) -> Decisions:
    """Return what both models decided, with the flips and the largest amounts among them."""
    events, flips = _paired_totals(connection, rollout, sealed.through, None)
    by_kind = tuple(_rows(connection, Flip, "flips", rollout))
    largest = tuple(_rows(connection, FlippedEvent, "largest_flips", rollout))
    return Decisions(sealed.events + events, sealed.flips + flips, by_kind, largest)


def _paired_totals(
    connection: Connection, rollout: StoredRollout, first: datetime | None, until: datetime | None
) -> tuple[int, int]:
    values = {"rollout_id": rollout.rollout_id, "first": first, "until": until}
    row = connection.execute(QUERIES["paired_totals"], values).fetchone()
    assert row is not None
    return row[0], row[1]


def _labels(outcomes: Sequence[LabelOutcome], weights: Sequence[LabelWeight]) -> Labels:
    legitimate = sum(outcome.legitimate for outcome in outcomes)
    blocked = {arm: sum(o.legitimate for o in outcomes if getattr(o, f"{arm}_decision") == "block") for arm in ARMS}
    rates = {arm: share(blocked[arm], legitimate) for arm in ARMS}
    return Labels(tuple(outcomes), legitimate, rates, _weighted(weights))


def _weighted(weights: Sequence[LabelWeight]) -> dict[str, Estimate] | None:
    """Return None where every event weighs 1: the unweighted rates say the same."""
    whole, squares = sum(one.weight for one in weights), sum(one.squares for one in weights)
    if squares == whole:
        return None
    found = {}
    for arm in ARMS:
        blocked = [one for one in weights if getattr(one, f"{arm}_decision") == "block"]
        part, part_squares = sum(one.weight for one in blocked), sum(one.squares for one in blocked)
        found[arm] = weighted_share(part, whole, squares, part_squares)
    return found
