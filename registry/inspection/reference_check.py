"""Compare the scores that a model serves with those of its training library."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from registry.feed import Row
from registry.inspection.diagnosis import Rescore, diagnose
from registry.signature import Signature

DEFAULT_TOLERANCE = 1e-4
_WORST_ROWS = 5


class WorstRow(msgspec.Struct, frozen=True):
    """A row by its place in the file, how far off it is, and the fields in it that are blank or zero."""

    row: int
    difference: float | None
    blank: list[str]
    zero: list[str]


class Differences(msgspec.Struct, frozen=True):
    """The differences between served and expected scores, without any value of a payload.

    A difference of None stands for a row that got no probability at all.
    """

    rows: int
    differing: int
    tolerance: float
    max_difference: float | None
    median_difference: float | None
    worst: list[WorstRow]
    causes: list[str]

    def __str__(self) -> str:
        causes = "; ".join(self.causes) or "no usual cause fits"
        return (
            f"{self.differing} of {self.rows} reference rows differ from their expected score by more than "
            f"{self.tolerance:g} (largest {_number(self.max_difference)}, median {_number(self.median_difference)}): "
            f"{causes}"
        )


@dataclass(frozen=True, slots=True)
class Compared:
    """`differences` is None when every row agrees within the tolerance."""

    max_difference: float
    differences: Differences | None


def compare(
    signature: Signature, rows: Sequence[Row], expected: Sequence[float], tolerance: float, rescore: Rescore
) -> Compared:
    """Score n rows by `rescore` and compare each score with the expected one."""
    wanted = np.asarray(expected, dtype=np.float64)
    scores = rescore(rows)
    off = np.where(np.isnan(scores), np.inf, np.abs(scores - wanted))
    differing = off > tolerance
    if not differing.any():
        return Compared(float(off.max(initial=0.0)), None)
    worst = np.argsort(-off, kind="stable")[:_WORST_ROWS]
    found = Differences(
        rows=len(rows),
        differing=int(differing.sum()),
        tolerance=tolerance,
        max_difference=_finite(off.max()),
        median_difference=_finite(np.median(off[differing])),
        worst=[_worst(signature, rows, off, int(place)) for place in worst if differing[place]],
        causes=diagnose(signature, rows, wanted, scores, tolerance, rescore),
    )
    return Compared(float(off.max()), found)


def _worst(signature: Signature, rows: Sequence[Row], off: NDArray[np.float64], place: int) -> WorstRow:
    named = list(zip((field.name for field in signature.fields), rows[place], strict=True))
    return WorstRow(
        row=place,
        difference=_finite(off[place]),
        blank=[name for name, value in named if value == "" or value != value],
        zero=[name for name, value in named if value == 0 and not isinstance(value, bool)],
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _number(value: float | None) -> str:
    return "no probability" if value is None else f"{value:.3g}"
