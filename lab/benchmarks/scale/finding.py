"""The result of one measurement, and how it grows with size. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.benchmarks.report import Goal
from lab.errors import LabError

Row = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Finding:
    """`rows`: heading -> figure, equal headings in each; a heading names its unit. `grows`: one sentence each."""

    title: str
    conditions: str
    rows: tuple[Row, ...]
    grows: tuple[str, ...]
    goals: tuple[Goal, ...] = ()

    @property
    def missed(self) -> bool:
        return not all(goal.reached for goal in self.goals)


class MeasurementFailed(LabError):
    """The figures would not measure what their name promises."""


def growth(rows: Sequence[Row], size: str, *figures: str) -> str:
    """Return how the figures of each later row compare with the first row's.

    >>> growth([{"n": 1, "ms": 2.0}, {"n": 10, "ms": 3.0}], "n", "ms")
    'At 10 times the n: ms 1.5 times.'
    """
    first, *others = rows
    return " ".join(
        f"At {_times(row, first, size)} times the {size}:"
        f" {', '.join(f'{figure} {_times(row, first, figure)} times' for figure in figures)}."
        for row in others
    )


def _times(row: Row, first: Row, heading: str) -> str:
    if not float(first[heading]):
        return "?"
    ratio = float(row[heading]) / float(first[heading])
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def transposed(rows: Sequence[Row], size: str) -> tuple[Row, ...]:
    """Return one row per figure and one column per size: for many figures at few sizes."""
    figures = [heading for heading in rows[0] if heading != size]
    return tuple({"": figure} | {f"{row[size]:,} {size}": row[figure] for row in rows} for figure in figures)


def slope(rows: Sequence[Row], size: str, figure: str) -> float:
    """Return how much the figure grows per unit of size, between the first row and the last."""
    (low, before), (high, after) = ((float(row[size]), float(row[figure])) for row in (rows[0], rows[-1]))
    return (after - before) / (high - low)
