"""Shapley's weights for one leaf: a game that is won when every condition of the leaf is met.

Condition j is met by the event (bit j of x), by a background row (bit j of z), or by both; a coalition takes its
members' conditions from the event and the others' from the row. Where x and z together do not meet all conditions, no
coalition reaches the leaf. Else, of the `a` conditions that only the event meets and the `b` that only the row meets,
the leaf is reached by the coalitions that hold all of the first and none of the second, so that the Shapley value is
(a-1)! b! / (a+b)! for each of the first and -a! (b-1)! / (a+b)! for each of the second.
"""

from functools import lru_cache
from math import factorial

import numpy as np

from scoring.reasons.graph.ensembles import Floats, Ints

MAX_PLAYERS = 60


def positive(a: int, b: int) -> float:
    """Return the value of a condition that only the event meets, one of `a`."""
    return factorial(a - 1) * factorial(b) / factorial(a + b) if a else 0.0


def negative(a: int, b: int) -> float:
    """Return the value of a condition that only the background row meets, one of `b`."""
    return -factorial(a) * factorial(b - 1) / factorial(a + b) if b else 0.0


@lru_cache
def tables() -> tuple[Floats, Floats]:
    """Return `positive` and `negative` of all a and b up to MAX_PLAYERS: two arrays of (a, b)."""
    size = MAX_PLAYERS + 1
    plus, minus = np.zeros((size, size)), np.zeros((size, size))
    for a in range(size):
        for b in range(size):
            plus[a, b], minus[a, b] = positive(a, b), negative(a, b)
    return plus, minus


def leaf_tables(shares: Floats) -> Floats:
    """Return the Shapley values of leaves with k conditions: (leaves, 2**k, k), indexed by the event's pattern.

    `shares` is (leaves, 2**k): the share of background rows with each pattern. Rows of one pattern matter only to
    events that meet all that they do not. Only sums and products of arrays in a fixed order, no matrix product: the
    same bits on every machine.
    """
    leaves, patterns = shares.shape
    k = patterns.bit_length() - 1
    found = np.zeros((leaves * patterns, k))
    for z in np.flatnonzero(shares.any(axis=0)).tolist():
        events, values = _values_of(z, k)
        having = np.flatnonzero(shares[:, z])
        places = (having * patterns)[:, None] + events
        found[places] += shares[having, z][:, None, None] * values
    return found.reshape(leaves, patterns, k)


@lru_cache(maxsize=2_048)
def _values_of(z: int, k: int) -> tuple[Ints, Floats]:
    """Return the events' patterns that matter to background pattern `z`, and the values of the k conditions for each.

    These are the patterns that meet whatever `z` does not: (patterns,) and (patterns, k).
    """
    full = (1 << k) - 1
    met = [j for j in range(k) if z >> j & 1]
    shared = np.zeros(1, dtype=np.int64)
    for j in met:
        shared = np.concatenate([shared, shared | (1 << j)])
    a, b = k - len(met), len(met) - np.bitwise_count(shared)
    plus, minus = tables()
    values = np.repeat(plus[a, b][:, None], k, axis=1)
    for j in met:
        values[:, j] = np.where(shared >> j & 1, 0.0, minus[a, b])
    return shared | (full & ~z), values
