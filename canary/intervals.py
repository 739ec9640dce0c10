"""Intervals of 95 % for shares, differences of paired shares, and sums of amounts. Pure."""

from math import sqrt

import msgspec

_Z = 1.959963984540054


class Estimate(msgspec.Struct, frozen=True):
    """A figure and its interval of 95 %; None where there is nothing to estimate it from."""

    value: float | None
    low: float | None
    high: float | None


NOTHING = Estimate(None, None, None)


def share(part: int, whole: int) -> Estimate:
    """Return part / whole with Wilson's interval."""
    return weighted_share(part, whole, whole)


def weighted_share(part: float, whole: float, squares: float, part_squares: float | None = None) -> Estimate:
    """Return part / whole with Wilson's interval, where both are sums of weights and `squares` that of their squares.

    The interval is that of as many events as would tell the same without weights. With `part_squares`, the squares of
    the part's weights, their number is p (1 - p) / v, where v is the variance of the ratio by linearization (Hajek,
    1971; Korn and Graubard, 1998). Without them, or where p is 0 or 1, it is whole^2 / squares (Kish, 1965), which is
    too large where the part has the larger weights.
    """
    if not whole:
        return NOTHING
    events = whole * whole / squares
    if part_squares is not None and 0 < part < whole:
        # The sum of w^2 (y - p)^2, for y of 1 in the part and 0 outside.
        share = part / whole
        spread = part_squares * (1 - share) ** 2 + (squares - part_squares) * share**2
        events = share * (1 - share) * whole * whole / spread
    p, z2 = part / whole, _Z * _Z / events
    middle = (p + z2 / 2) / (1 + z2)
    half = _Z / (1 + z2) * sqrt(p * (1 - p) / events + z2 / (4 * events))
    return Estimate(p, max(0.0, middle - half) if part else 0.0, min(1.0, middle + half) if part < whole else 1.0)


def paired_difference(gained: int, lost: int, whole: int) -> Estimate:
    """Return (gained - lost) / whole for two decisions on the same events; the interval is Wald's, adjusted.

    Bonett and Price (2012): one event is added to each kind of disagreement.
    """
    if not whole:
        return NOTHING
    b, c, n = (gained + 1) / (whole + 2), (lost + 1) / (whole + 2), whole + 2
    half = _Z * sqrt(max(0.0, b + c - (b - c) ** 2) / n)
    return Estimate((gained - lost) / whole, max(-1.0, b - c - half), min(1.0, b - c + half))


def amount(total: float, squares: float, unit: int) -> Estimate:
    """Return a sum of amounts, with the interval of a sum whose events arrive at random."""
    value, half = total / unit, _Z * sqrt(squares) / unit
    return Estimate(value, max(0.0, value - half), value + half)
