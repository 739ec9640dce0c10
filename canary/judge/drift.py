"""How far the canary's scores have moved from production's: the population stability index."""

import numpy as np

from canary.judge.sequential import CANARY, PRODUCTION, IntArray

_GROUPS = 10
# A group without scores in one arm counts as half an event there, so that the logarithm exists.
_MIN_COUNT = 0.5


def population_stability_index(scores: IntArray) -> float:
    """Return the PSI of score histograms (2, bins) less its bias: about 0 when nothing has changed, never below 0.

    Bins are joined into production's deciles as far as they allow. The bias (B - 1)(1/n_c + 1/n_p) is the mean
    of PSI for two samples of one population: Yurdakul, Statistical Properties of PSI (2018). Both arms non-empty.
    """
    groups = _deciles(scores[PRODUCTION])
    production, canary = (np.bincount(groups, weights=scores[arm]) for arm in (PRODUCTION, CANARY))
    n_p, n_c = production.sum(), canary.sum()
    p = np.maximum(production, _MIN_COUNT) / n_p
    c = np.maximum(canary, _MIN_COUNT) / n_c
    bias = (len(production) - 1) * (1.0 / n_c + 1.0 / n_p)
    return max(0.0, float(((c - p) * np.log(c / p)).sum() - bias))


def _deciles(production: IntArray) -> IntArray:
    """Return the group of each bin: the decile that its middle lies in, numbered from 0 without gaps."""
    middles = production.cumsum() - production / 2.0
    deciles = np.minimum((middles * _GROUPS / production.sum()).astype(np.int64), _GROUPS - 1)
    return np.concatenate([[0], (np.diff(deciles) > 0).cumsum()])
