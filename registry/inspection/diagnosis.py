"""Why a model's scores differ from its trainer's: usual causes, each shown by an experiment on the rows themselves."""

import math
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.feed import Row
from registry.inspection.score_scale import EXPLAINED, other_scale
from registry.probability import ScoreArray
from registry.signature import FLOATING, Signature

# Scores of rows that may hold other values than the payloads had.
Rescore = Callable[[Sequence[Row]], ScoreArray]
RowChange = Callable[[Row], Row]

# A step of float32 moves a few rows; what moves more is something else.
_MAX_STEP_SHARE = 0.2
_STEP_ULPS = (1, 4, 16, 64, 256)
_FACTORS = (100.0, 0.01, 1000.0, 0.001, 60.0, 1 / 60, 3600.0, 1 / 3600)
_MAX_CATEGORIES = 64
# Leaving fields out one by one scores the rows again for each.
_MAX_LEFT_OUT = 4
_MAX_FIELDS_LEFT_OUT = 32
# Several calibrators, each with steps, move more rows than one split.
_MAX_INNER_STEP_SHARE = 1 / 3
# What converters write for a missing text. Source: str() of None and of NaN, pandas.
_MISSING_TEXTS = ("None", "nan", "NaN", "<NA>", "missing")
# Rows that agree this well were computed alike.
_SAME_COMPUTATION = 1e-6
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
    if cause := other_scale(expected, scores, tolerance):
        return [cause]
    differing = np.isnan(scores) | (np.abs(scores - expected) > tolerance)
    case = _Case(signature, rows, expected, differing, tolerance, rescore)
    for experiment in (_zero_as_missing, _missing_texts, _missing_values, _float32_step, _unit, _category_codes):
        if cause := experiment(case):
            return [cause]
    return [cause] if (cause := _step_inside(expected, scores, differing)) else []


class _Case:
    """The differing rows and the agreeing rows, thinned, and what they should have scored."""

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
        self._tolerance = tolerance
        self._rescore = rescore
        self.rows, self._expected = _thinned(rows, expected, differing)
        self._agreeing = _thinned(rows, expected, ~differing)

    def explained(self, changed: Sequence[Row]) -> NDArray[np.bool_]:
        """Return, for each differing row, whether it scores as expected once changed."""
        return self._agree(changed, self._expected)

    def share_explained(self, change: RowChange) -> float:
        return float(self.explained([change(row) for row in self.rows]).mean())

    def explains(self, change: RowChange) -> bool:
        """Return whether rows agree once changed: nearly all that differ, and nearly all that agreed before.

        A few differing rows alone are explained too easily: by any change that moves them far enough.
        """
        if self.share_explained(change) < EXPLAINED:
            return False
        rows, expected = self._agreeing
        return not rows or float(self._agree([change(row) for row in rows], expected).mean()) >= EXPLAINED

    def _agree(self, changed: Sequence[Row], expected: ScoreArray) -> NDArray[np.bool_]:
        try:
            scores = self._rescore(changed)
        except Exception:  # the model may raise on what it was never meant to see
            return np.zeros(len(changed), dtype=bool)
        return np.asarray(np.abs(scores - expected) <= self._tolerance)

    def mostly_differ(self, concerned: Callable[[Row], bool]) -> bool:
        """Return whether all differing rows are of this kind, and most rows of this kind differ."""
        agreeing = (row for row, differs in zip(self.all_rows, self.differing, strict=True) if not differs)
        return all(map(concerned, self.rows)) and sum(map(concerned, agreeing)) <= len(self.rows)

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


def _thinned(rows: Sequence[Row], expected: ScoreArray, chosen: NDArray[np.bool_]) -> tuple[list[Row], ScoreArray]:
    places = np.flatnonzero(chosen)
    if len(places) > _MAX_ROWS:
        places = places[np.linspace(0, len(places) - 1, _MAX_ROWS).astype(int)]
    return [rows[place] for place in places.tolist()], expected[places]


def _with(places: Container[int], wanted: Callable[[Any], bool], stand_in: Any) -> RowChange:
    """Return a change that puts `stand_in` in the place of wanted values of these fields."""
    return lambda row: tuple(stand_in if p in places and wanted(v) else v for p, v in enumerate(row))


def _is_zero(value: Any) -> bool:
    return bool(value == 0.0)


def _is_missing(value: Any) -> bool:
    return bool(value == "" or value != value)


def _zero_as_missing(case: _Case) -> str | None:
    places = {*case.with_value(_is_zero)}
    for _ in range(_MAX_LEFT_OUT + 1):
        if places and case.explains(_with(places, _is_zero, math.nan)):
            return (
                f"the rows agree once zero is taken as missing ({case.names(sorted(places))}): trained with "
                "zero_as_missing, which the converter dropped"
            )
        if not 1 < len(places) <= _MAX_FIELDS_LEFT_OUT:
            return None
        # To LightGBM a category of 0 is a category all the same (LightGBM #2274).
        fewer = [places - {place} for place in sorted(places)]
        places = max(fewer, key=lambda kept: case.share_explained(_with(kept, _is_zero, math.nan)))
    return None


def _missing_texts(case: _Case) -> str | None:
    texts = [place for place, field in enumerate(case.fields) if field.kind == "string"]
    blank = [place for place in texts if any(row[place] == "" for row in case.rows)]
    if not blank or not case.mostly_differ(lambda row: any(row[place] == "" for place in blank)):
        return None
    for text in _MISSING_TEXTS:
        if case.explains(_with(blank, _is_missing, text)):
            options = " ".join(f"--default '{case.fields[place].name}={text}'" for place in blank[:5])
            return f"the rows agree once a missing text is written {text}, as its converter does: give {options}"
    return f"every differing row has a missing text ({case.names(blank)}): give it the --default that training used"


def _missing_values(case: _Case) -> str | None:
    places = case.with_value(_is_missing)
    if not places:
        return None
    named = case.names(places)
    if case.explains(_with(places, _is_missing, 0.0)):
        return f"the rows agree once a missing value is taken as 0 ({named}): training saw none, and its library used 0"
    if not case.mostly_differ(lambda row: any(_is_missing(row[place]) for place in places)):
        return None
    return f"every differing row has a missing value ({named}): the converter handles it otherwise than the trainer"


def _unit(case: _Case) -> str | None:
    for place in case.floating():
        for factor in _FACTORS:
            if case.explains(_scaled(place, factor)):
                return f"the rows agree once {case.fields[place].name} is multiplied by {factor:g}: its unit differs"
    return None


def _scaled(place: int, factor: float) -> RowChange:
    return lambda row: (*row[:place], row[place] * factor, *row[place + 1 :])


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


def _step_inside(expected: ScoreArray, scores: ScoreArray, differing: NDArray[np.bool_]) -> str | None:
    """Some rows differ and the others agree as if computed alike; a pattern, not an experiment."""
    agreeing = np.abs(scores - expected)[~differing]
    if differing.mean() > _MAX_INNER_STEP_SHARE or (agreeing <= _SAME_COMPUTATION).mean() < EXPLAINED:
        return None
    return (
        "the other rows agree to a millionth: probably float32 puts a value inside the model on the "
        "other side of a step (isotonic calibration, bins); accept it with --tolerance if so"
    )
