"""Shapley values of any model by sampling: walks from background rows to the event, one field at a time.

Each background row is the start of two walks, which take on the event's fields in a random order and in its reverse
(antithetic sampling; Mitchell, Cooper, Frank, Holmes, JMLR 2022). A step's change of the margin is the field's. The
steps of a walk add up to the difference between its ends, so that the mean over all background rows adds up exactly.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from registry.feed import Row
from scoring.reasons.explanation import Array, Scale
from scoring.reasons.graph.ensembles import Floats, Ints

Score = Callable[[Sequence[Row]], Array]

# Probabilities are kept this far from 0 and 1, so that their log odds are finite.
MIN_PROBABILITY = 1e-6
# The share of background scores beyond that from which on log odds would mostly show where they were cut off.
MAX_EXTREME = 0.1
# Rows that are scored in one run.
_ROWS = 4_096
# Values of rows that are held at once: with many fields, the walks of a few background rows at a time.
_MAX_VALUES = 1 << 23


class SampledShapley:
    """`score` gives the probabilities of rows; `scale` is log odds, unless many background scores are 0 or 1."""

    def __init__(self, score: Score, background: Sequence[Row]) -> None:
        self._score = score
        self._background = background
        scores = score(background)
        extreme = (scores <= MIN_PROBABILITY) | (scores >= 1 - MIN_PROBABILITY)
        self.scale: Scale = "probability" if extreme.mean() > MAX_EXTREME else "log_odds"
        self._starts = self._margins(scores)
        self.base = float(self._starts.mean())

    def explain(self, row: Row, seed: str) -> tuple[Floats, Floats]:
        """Return the values and their standard errors by field; the same for the same seed.

        The standard errors take the background rows for a random sample: they are rather too large than too small.
        """
        orders = permutations(seed, len(self._background), len(row))
        steps = np.zeros((len(self._background), len(row)))
        together = max(1, _MAX_VALUES // (2 * len(row) ** 2))
        for first in range(0, len(steps), together):
            places = range(first, min(first + together, len(steps)))
            paths = [self._path(row, place, order) for place in places for order in _both(orders[place])]
            margins = self._margins_of(path_row for path in paths for path_row in path)
            for number, path in enumerate(paths):
                place = places[number // 2]
                walked = np.array([self._starts[place], *(margins[path_row] for path_row in path)])
                steps[place, _both(orders[place])[number % 2]] += np.diff(walked) / 2
        errors = steps.std(axis=0, ddof=1) / math.sqrt(len(steps)) if len(steps) > 1 else np.zeros(len(row))
        return steps.mean(axis=0), errors

    def _path(self, row: Row, place: int, order: Ints) -> list[Row]:
        current, path = list(self._background[place]), []
        for field in order:
            current[field] = row[field]
            path.append(tuple(current))
        return path

    def _margins_of(self, rows: Iterable[Row]) -> dict[Row, float]:
        """Score each distinct row once."""
        distinct = list(dict.fromkeys(rows))
        margins: dict[Row, float] = {}
        for first in range(0, len(distinct), _ROWS):
            part = distinct[first : first + _ROWS]
            margins.update(zip(part, self._margins(self._score(part)).tolist(), strict=True))
        return margins

    def _margins(self, scores: Array) -> Floats:
        if self.scale == "probability":
            return scores
        kept = np.clip(scores, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        return np.log(kept) - np.log1p(-kept)


def _both(order: Ints) -> tuple[Ints, Ints]:
    return order, order[::-1]


def permutations(seed: str, count: int, size: int) -> Ints:
    """Return `count` orders of `size` fields, (count, size), the same ones for the same seed for good.

    Only the raw output of the bit generator is used: numpy keeps that stable, not what it makes of it.
    """
    digest = hashlib.blake2b(seed.encode(), digest_size=16).digest()
    raw = np.random.PCG64(int.from_bytes(digest, "big")).random_raw(count * size)
    return np.argsort(raw.reshape(count, size), axis=1, kind="stable")
