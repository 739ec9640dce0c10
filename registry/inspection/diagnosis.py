"""Why a model's scores differ from its trainer's: usual causes, each shown by an experiment on the rows themselves."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.feed import Row
from registry.probability import ScoreArray
from registry.signature import FLOATING, Signature

# Scores of rows that may hold other values than the payloads had.
Rescore = Callable[[Sequence[Row]], ScoreArray]

# A cause must explain this share of the differing rows.
EXPLAINED = 0.95
# A step of float32 moves a few rows; what moves more is something else.
_MAX_STEP_SHARE = 0.2
_STEP_ULPS = (1, 4, 16, 64, 256)
_FACTORS = (100.0, 0.01, 1000.0, 0.001, 60.0, 1 / 60, 3600.0, 1 / 3600)
_MAX_CATEGORIES = 64
_MAX_ROWS = 2_000
_SEED = 7


def diagnose(
    signature: Signature,
    rows: Sequence[Row],
    expected: ScoreArray,
    scores: ScoreArray,
    tolerance: float,
    rescore: Rescore,
) -> list[str]:
    """The first usual cause that explains nearly all differing rows; an empty list when none does."""
    if cause := _other_scale(expected, scores, tolerance):
        return [cause]
    differing = np.isnan(scores) | (np.abs(scores - expected) > tolerance)
    case = _Case(signature, rows, expected, differing, tolerance, rescore)
    for experiment in (_zero_as_missing, _missing_values, _float32_step, _unit, _category_codes):
        if cause := experiment(case):
            return [cause]
    return []


def _other_scale(expected: ScoreArray, scores: ScoreArray, tolerance: float) -> str | None:
    """The scores are right, and mean something else."""
    with np.errstate(divide="ignore", over="ignore"):
        sigmoid = 1.0 / (1.0 + np.exp(-expected))
    if ((expected < 0) | (expected > 1)).any():
        if _same(scores, sigmoid, tolerance):
            return "the expected scores are raw margins (log odds), the model gives probabilities: write probabilities"
        return "some expected scores are outside [0, 1]: write the probability of fraud"
    if _same(scores, 1.0 - expected, tolerance):
        return "each score is 1 - expected: the positive class is swapped; declare the other label with --positive"
    if _same(expected, 1.0 / (1.0 + np.exp(-scores)), tolerance):
        return "the model's output went through a sigmoid once too little: its raw margin lies within [0, 1] by chance"
    return None


def _same(one: ScoreArray, other: ScoreArray, tolerance: float) -> bool:
    return float((np.abs(one - other) <= tolerance).mean()) >= EXPLAINED


class _Case:
    """The differing rows, thinned, and what they should have scored."""

    def __init__(
        self,
        signature: Signature,
        rows: Sequence[Row],
        expected: ScoreArray,
        differing: NDArray[np.bool_],
        tolerance: float,
        rescore: Rescore,
    ) -> None:
        self.fields = signature.fields
        self.all_rows = rows
        self.differing = differing
        places = np.flatnonzero(differing)
        if len(places) > _MAX_ROWS:
            places = places[np.linspace(0, len(places) - 1, _MAX_ROWS).astype(int)]
        self.rows = [rows[place] for place in places.tolist()]
        self._expected = expected[places]
        self._tolerance = tolerance
        self._rescore = rescore

    def explained(self, changed: Sequence[Row]) -> NDArray[np.bool_]:
        """Which of the differing rows score as expected once changed."""
        try:
            scores = self._rescore(changed)
        except Exception:  # the model may raise on what it was never meant to see
            return np.zeros(len(changed), dtype=bool)
        return np.asarray(np.abs(scores - self._expected) <= self._tolerance)

    def explains(self, changed: Sequence[Row]) -> bool:
        return float(self.explained(changed).mean()) >= EXPLAINED

    def floating(self) -> list[int]:
        return [place for place, field in enumerate(self.fields) if field.kind in FLOATING]

    def with_value(self, wanted: Callable[[Any], bool]) -> list[int]:
        """The floating fields in which each differing row has such a value in at least one."""
        places = self.floating()
        if not all(any(wanted(row[place]) for place in places) for row in self.rows):
            return []
        return [place for place in places if any(wanted(row[place]) for row in self.rows)]

    def names(self, places: Sequence[int]) -> str:
        shown = ", ".join(self.fields[place].name for place in places[:5])
        return shown + (", ..." if len(places) > 5 else "")


def _zero_as_missing(case: _Case) -> str | None:
    places = {*case.with_value(lambda value: value == 0.0)}
    if not places:
        return None
    changed = [tuple(math.nan if p in places and v == 0.0 else v for p, v in enumerate(row)) for row in case.rows]
    if not case.explains(changed):
        return None
    return (
        f"the rows agree once zero is taken as missing ({case.names(sorted(places))}): trained with zero_as_missing, "
        "which the converter dropped"
    )


def _missing_values(case: _Case) -> str | None:
    places = {*case.with_value(lambda value: value != value)}
    if not places:
        return None
    named = case.names(sorted(places))
    changed = [tuple(0.0 if p in places and v != v else v for p, v in enumerate(row)) for row in case.rows]
    if case.explains(changed):
        return f"the rows agree once a missing value is taken as 0 ({named}): training saw none, and its library used 0"
    others = [
        row for row, differs in zip(case.all_rows, case.differing, strict=True)
        if not differs and any(row[place] != row[place] for place in places)
    ]  # fmt: skip
    if others and len(others) > len(case.rows):
        return None  # most rows with a missing value agree
    return f"every differing row has a missing value ({named}): the converter handles it otherwise than the trainer"


def _unit(case: _Case) -> str | None:
    for place in case.floating():
        for factor in _FACTORS:
            changed = [(*row[:place], row[place] * factor, *row[place + 1 :]) for row in case.rows]
            if changed != case.rows and case.explains(changed):
                return f"the rows agree once {case.fields[place].name} is multiplied by {factor:g}: its unit differs"
    return None


def _float32_step(case: _Case) -> str | None:
    if len(case.rows) > max(1, _MAX_STEP_SHARE * len(case.all_rows)):
        return None
    places = {*case.floating()}
    rng = np.random.default_rng(_SEED)
    explained = np.zeros(len(case.rows), dtype=bool)
    for ulps in _STEP_ULPS:
        for signs in (
            np.ones(len(case.fields)),
            -np.ones(len(case.fields)),
            *rng.choice([-1.0, 1.0], (4, len(case.fields))),
        ):
            changed = [
                tuple(_moved(v, ulps * signs[p]) if p in places else v for p, v in enumerate(row)) for row in case.rows
            ]
            explained |= case.explained(changed)
    if float(explained.mean()) < EXPLAINED:
        return None
    return (
        "the rows agree once their values move by a few float32 steps: float32 puts them on the other side of a split "
        "or step; accept it with --tolerance, or train on float32"
    )


def _moved(value: Any, ulps: float) -> float:
    return float(value + ulps * np.spacing(np.float32(abs(value)))) if math.isfinite(value) else float(value)


def _category_codes(case: _Case) -> str | None:
    """A field of few values, of which some always differ and the others never."""
    for place, field in enumerate(case.fields):
        values = [row[place] for row in case.all_rows]
        known = {value for value in values if value == value}
        # Values that hardly repeat are no categories: each differs or agrees on its own.
        if not 2 <= len(known) <= min(_MAX_CATEGORIES, len(values) // 5) or field.kind == "bool":
            continue
        differing = {value for value, differs in zip(values, case.differing, strict=True) if differs}
        agreeing = {value for value, differs in zip(values, case.differing, strict=True) if not differs}
        if agreeing and len(differing) > 1 and len(differing & agreeing) <= 0.05 * len(differing):
            return f"whether a row differs depends on {field.name} alone: its category codes differ from training's"
    return None
