"""Why events were decided differently: which fields moved the difference between the two models."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from canary.judge.sequential import FloatArray

# Flips that are explained: a random sample.
MAX_EXPLAINED = 200
MAX_EXAMPLES = 5
MAX_FIELDS = 4


@dataclass(frozen=True, slots=True)
class FlippedPayload:
    """An event that the models decide differently. `payload` is its canonical JSON."""

    prediction_id: str
    event_id: str
    amount: float | None
    production_decision: str
    canary_decision: str
    production_score: float
    canary_score: float
    created_at: datetime
    payload: str


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """The canary's impact of a field minus production's, of one event."""

    field: str
    difference: float


@dataclass(frozen=True, slots=True)
class FlippedField:
    """A field's difference of impacts over all flips: how much it moves them, and in which direction on average."""

    field: str
    mean_absolute_difference: float
    mean_difference: float


@dataclass(frozen=True, slots=True)
class ExplainedFlip:
    """A flip with the fields that moved it most."""

    event_id: str
    amount: float | None
    production_decision: str
    canary_decision: str
    production_score: float
    canary_score: float
    fields: tuple[FieldDifference, ...]


@dataclass(frozen=True, slots=True)
class FlipReasons:
    """`events` flips that were explained, on `scale`; `fields` with the largest difference first.

    `examples` are the flips whose scores differ most. `unexplained` says why there is nothing, if there is nothing.
    """

    events: int
    scale: str | None
    fields: tuple[FlippedField, ...]
    examples: tuple[ExplainedFlip, ...]
    unexplained: str | None = None


def unexplained(reason: str) -> FlipReasons:
    """Return what a report says of flips that cannot be explained."""
    return FlipReasons(0, None, (), (), reason)


def flip_reasons(
    flips: Sequence[FlippedPayload], names: Sequence[str], differences: FloatArray, scale: str
) -> FlipReasons:
    """Sum up the differences of impacts, (flips, fields)."""
    if not flips:
        return unexplained("no explanation of a flip added up to its score")
    absolute, mean = abs(differences).mean(axis=0).tolist(), differences.mean(axis=0).tolist()
    fields = sorted(map(FlippedField, names, absolute, mean), key=lambda field: -field.mean_absolute_difference)
    rows: list[list[float]] = differences.tolist()
    largest = sorted(range(len(flips)), key=lambda place: -abs(math.fsum(rows[place])))[:MAX_EXAMPLES]
    examples = (_example(flips[place], names, rows[place]) for place in largest)
    return FlipReasons(len(flips), scale, tuple(fields), tuple(examples))


def _example(flip: FlippedPayload, names: Sequence[str], differences: Sequence[float]) -> ExplainedFlip:
    fields = sorted(map(FieldDifference, names, differences), key=lambda field: -abs(field.difference))
    return ExplainedFlip(
        flip.event_id,
        flip.amount,
        flip.production_decision,
        flip.canary_decision,
        flip.production_score,
        flip.canary_score,
        tuple(fields[:MAX_FIELDS]),
    )
