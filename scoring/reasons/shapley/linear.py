"""Exact Shapley values of a weighted sum of columns: weight * (value - mean over the background), added up by field."""

from typing import Any

import numpy as np

from scoring.reasons.graph.ensembles import Floats, Ints


class LinearShapley:
    """`base` is the mean weighted sum of the background, without the intercept."""

    def __init__(self, weights: Floats, owner: Ints, background: Any, fields: int) -> None:
        """`weights` and `owner` (the field) are by column; `background` is (columns, rows)."""
        self._weights = weights
        self._owner = owner
        self._fields = fields
        self._mean = background.mean(axis=1)
        self.base = float((weights * self._mean).sum())

    def explain(self, values: Any) -> Floats:
        """Return the Shapley values of n events, (n, fields), from (columns, n)."""
        found = np.zeros((self._fields, values.shape[1]))
        np.add.at(found, self._owner, self._weights[:, None] * (values - self._mean[:, None]))
        return found.T
