"""What a labelled event counts for where a control group lets some blocks pass. Pure.

An event that a model wanted to block and that passed with probability p stands for 1 / p events (Horvitz and Thompson,
1952). Shares divide one sum of weights by another (Hajek, 1971). docs/monitoring.md has the formulas.
"""

from typing import Any

import numpy as np


def label_weights(blocked: Any, propensities: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the weights of events. `blocked`: what was answered; `propensities`: NaN where no group had a say.

    An event that could have passed and was blocked counts 0 even if it has a label, because those that passed stand for
    it. One that could not pass (p is 0 or NaN) counts 1 if it has a label, and nothing stands for it.
    """
    could_pass = np.asarray(propensities) > 0
    weights = np.ones(could_pass.shape)
    weights[could_pass] = np.where(np.asarray(blocked)[could_pass], 0.0, 1 / np.asarray(propensities)[could_pass])
    return weights
