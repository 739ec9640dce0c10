"""Shapley values from their definition: every coalition of fields, every background row, scored by the model itself."""

from collections.abc import Callable, Sequence
from itertools import product
from math import factorial
from typing import Any

import numpy as np

Row = tuple[Any, ...]


def shapley(margins: Callable[[Sequence[Row]], Any], row: Row, background: Sequence[Row]) -> tuple[float, Any]:
    """Return the base and the value of each field. `margins` scores rows: 2**fields times the background."""
    fields = len(row)
    coalitions = list(product((False, True), repeat=fields))
    mixed = [
        tuple(x if inside else z for inside, x, z in zip(coalition, row, start, strict=True))
        for coalition in coalitions
        for start in background
    ]
    worth = np.asarray(margins(mixed), np.float64).reshape(len(coalitions), len(background)).mean(axis=1)
    by_coalition = dict(zip(coalitions, worth, strict=True))
    values = np.zeros(fields)
    for coalition, without in by_coalition.items():
        size = sum(coalition)
        for field in range(fields):
            if not coalition[field]:
                joined = (*coalition[:field], True, *coalition[field + 1 :])
                share = factorial(size) * factorial(fields - size - 1) / factorial(fields)
                values[field] += share * (by_coalition[joined] - without)
    return float(by_coalition[(False,) * fields]), values


def log_odds(probabilities: Any, *, floor: float = 0.0) -> Any:
    """Log odds of probabilities that are kept `floor` away from 0 and 1."""
    p = np.clip(np.asarray(probabilities, np.float64), floor, 1 - floor)
    return np.log(p) - np.log1p(-p)
