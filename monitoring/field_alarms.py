"""Which fields of a product's events have changed: missing values by an exact binomial test, drift by two distances.

A p-value of a distribution test flags every field of a large sample. Drift is therefore judged by its size: the
population stability index, with its expected value under no change taken off (Yurdakul and Naranjo, 2020: about
(bins - 1) (1/n + 1/m)), and the Jensen-Shannon distance (Lin, 1991), base 2.
"""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from monitoring.profile import FieldBaseline, FieldCounts

# A share that is this small harms little, whatever the baseline says.
MIN_SHARE = 0.01
# How many times the baseline's share is still normal.
NORMAL_TIMES = 2.0
# The probability that a field with a normal share is flagged at one look.
MAX_FALSE_ALARM = 1e-9
# Events of an hour from which drift is judged: below, chance alone moves the distances.
MIN_EVENTS = 500
# Values of the baseline from which drift is judged: deciles of fewer are not the field's own.
MIN_BASELINE_VALUES = 100
MAX_PSI, MAX_JS_DISTANCE = 0.25, 0.1
# Added to each bin, so that an empty one does not make the index infinite.
_HALF_EVENT = 0.5

AlarmKind = Literal["missing", "unseen", "drift"]


class FieldState(msgspec.Struct, frozen=True):
    """A field in one hour, beside its baseline. Shares are of all events; `psi` and `js_distance` need MIN_EVENTS."""

    field: str
    events: int
    missing_share: float
    baseline_missing_share: float
    unseen_share: float
    out_of_range_share: float
    psi: float | None
    js_distance: float | None
    alarms: tuple[AlarmKind, ...]


def field_state(name: str, counts: FieldCounts, baseline: FieldBaseline) -> FieldState:
    """Judge one field of one hour."""
    usual = baseline.counts
    missing, usual_missing = (one.absent + one.nulls + one.wrong for one in (counts, usual))
    alarms: list[AlarmKind] = []
    if exceeds(missing, counts.events, usual_missing, usual.events):
        alarms.append("missing")
    if exceeds(counts.unseen, counts.events, usual.unseen, usual.events):
        alarms.append("unseen")
    distances = None
    if sum(counts.bins.values()) >= MIN_EVENTS and sum(usual.bins.values()) >= MIN_BASELINE_VALUES:
        distances = (corrected_psi(counts.bins, usual.bins), js_distance(counts.bins, usual.bins))
        if distances[0] > MAX_PSI and distances[1] > MAX_JS_DISTANCE:
            alarms.append("drift")
    return FieldState(
        name,
        counts.events,
        _share(missing, counts.events),
        _share(usual_missing, usual.events),
        _share(counts.unseen, counts.events),
        _share(counts.out_of_range, counts.events),
        None if distances is None else distances[0],
        None if distances is None else distances[1],
        tuple(alarms),
    )


def exceeds(count: int, events: int, usual_count: int, usual_events: int) -> bool:
    """Return whether a share is above NORMAL_TIMES the usual one, with MAX_FALSE_ALARM as the error.

    The usual share is taken at its upper bound: three more than were counted (the rule of three, for none).
    """
    usual = (usual_count + 3) / usual_events if usual_events else 0.0
    normal = min(1.0, max(MIN_SHARE, NORMAL_TIMES * usual))
    return binomial_tail(count, events, normal) < MAX_FALSE_ALARM


def binomial_tail(count: int, events: int, share: float) -> float:
    """Return the probability of at least `count` of `events` when each has probability `share`.

    Exact where it is small: 1 is returned up to the mean, where no alarm depends on it.
    """
    if count <= events * share:
        return 1.0
    if share <= 0.0:
        return 0.0
    log_term = (
        math.lgamma(events + 1)
        - math.lgamma(count + 1)
        - math.lgamma(events - count + 1)
        + count * math.log(share)
        + (events - count) * math.log1p(-share)
    )
    ratio, term, total, place = share / (1.0 - share), 1.0, 0.0, count
    while term > 1e-17 * total:  # terms fall beyond the mean, so that the sum ends soon
        total += term
        term *= (events - place) / (place + 1) * ratio
        place += 1
    return min(1.0, math.exp(log_term) * total)


def corrected_psi(now: Mapping[str, int], usual: Mapping[str, int]) -> float:
    """Return the population stability index less its expected value under no change; can be below 0."""
    p, q, events, usual_events = _shares(now, usual)
    index = float(((p - q) * np.log(p / q)).sum())
    return index - (len(p) - 1) * (1.0 / events + 1.0 / usual_events)


def js_distance(now: Mapping[str, int], usual: Mapping[str, int]) -> float:
    """Return the Jensen-Shannon distance, base 2: 0 for equal shares, 1 for shares without a common bin."""
    p, q, _, _ = _shares(now, usual)
    middle = (p + q) / 2.0
    divergence = (p * np.log2(p / middle)).sum() + (q * np.log2(q / middle)).sum()
    return math.sqrt(max(0.0, float(divergence) / 2.0))


def _shares(now: Mapping[str, int], usual: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray, float, float]:
    names = sorted({*now, *usual})
    p, q = (np.array([bins.get(name, 0) + _HALF_EVENT for name in names], dtype=np.float64) for bins in (now, usual))
    return p / p.sum(), q / q.sum(), float(p.sum()), float(q.sum())


def _share(count: int, events: int) -> float:
    return count / events if events else 0.0
