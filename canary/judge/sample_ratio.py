"""The sample-ratio check: the split of requests that arrived, compared with the split that was set.

A split is by routing key, so one busy key moves many requests at once, and the same keys come back for the whole
rollout. Two things answer for that: requests count less by their dispersion between minutes, and a share within a
tolerance of the one that was set is never a mismatch, because a fixed set of keys never has it exactly.
"""

import msgspec
import numpy as np

from canary.judge import sequential
from canary.judge.measurement import Measurement, e_value
from canary.judge.sequential import CANARY, PRODUCTION, FloatArray, SplitTest
from canary.limits import Limits

ALTERNATIVES = np.array([1.1, 1.25, 1.6, 2.5, 5.0, 16.0])
CELL_SECONDS = 60
MAX_DISPERSION = 100.0
# Before minutes have been counted, requests are taken to come in clusters: this many minutes of this dispersion.
_ASSUMED_CELLS = 10.0
_ASSUMED_DISPERSION = 20.0
# A hold ends when there is no longer evidence of a mismatch, far below where it began, so that it does not flap.
_HOLD_ENDS = 1.0


class SplitWatch(msgspec.Struct, frozen=True):
    """The evidence of a mismatch.

    test:     log wealth against "too many" and then "too few" of each alternative; its `requests` are expected ones.
    holds:    (...) 1 from the evidence of a mismatch until the evidence is against one.
    cell:     (..., 2) requests of the present minute, which began at `cell_at`.
    counted:  (..., 2) requests of the phase's earlier minutes.
    squares:  (...) sum over minutes of the squared deviation from the phase's own share, in units of its variance.
    cells:    (...) number of minutes in `squares`.
    """

    test: SplitTest
    holds: FloatArray
    cell_at: int
    cell: FloatArray
    counted: FloatArray
    squares: FloatArray
    cells: FloatArray


def begin_watch(shape: tuple[int, ...], start: int) -> SplitWatch:
    """Return a watch without wealth: restart its test before the first bucket."""
    test = sequential.begin_test(shape, np.concatenate([ALTERNATIVES, ALTERNATIVES]))
    arms, zeros = np.zeros((*shape, 2)), np.zeros(shape)
    return SplitWatch(test, zeros, start, arms, arms, zeros, zeros)


def begin_phase(watch: SplitWatch, start: int) -> SplitWatch:
    """Keep the evidence; another percentage has other minutes to compare."""
    fresh = begin_watch(watch.holds.shape, start)
    return msgspec.structs.replace(fresh, test=watch.test, holds=watch.holds)


def add_requests(watch: SplitWatch, start: int, requests: FloatArray, percent: float, limits: Limits) -> SplitWatch:
    """Return the watch after one more bucket of requests (..., 2), which were to be split at `percent`."""
    if limits.sample_ratio is None or not 0.0 < percent < 100.0:
        return watch
    share = percent / 100.0
    if start // CELL_SECONDS > watch.cell_at // CELL_SECONDS:
        watch = _close_cell(watch, start)
    expected = requests.sum(axis=-1, keepdims=True) * np.array([1.0 - share, share])
    # The dispersion of the minutes before this bucket: it must not depend on the bucket, or the test is not valid.
    eta = 1.0 / dispersion(watch)[..., None]
    tolerated, flip = limits.sample_ratio, [CANARY, PRODUCTION]
    too_many = sequential.log_likelihood_ratio(requests, expected, ALTERNATIVES, tolerated, eta)
    too_few = sequential.log_likelihood_ratio(requests[..., flip], expected[..., flip], ALTERNATIVES, tolerated, eta)
    test = sequential.add_bucket(watch.test, np.concatenate([too_many, too_few], axis=-1), requests, expected)
    evidence = sequential.log_evidence(test.log_wealth)
    ends = np.log(np.where(watch.holds > 0.0, _HOLD_ENDS, 1.0 / limits.sample_alpha))
    return msgspec.structs.replace(
        watch, test=test, holds=(evidence >= ends).astype(np.float64), cell=watch.cell + requests
    )


def dispersion(watch: SplitWatch) -> FloatArray:
    """Return how much requests cluster by key (..., from 1 to 100), from the minutes of this phase."""
    measured = (watch.squares + _ASSUMED_CELLS * _ASSUMED_DISPERSION) / (watch.cells + _ASSUMED_CELLS)
    return np.asarray(np.clip(measured, 1.0, MAX_DISPERSION))


def check_sample_ratio(watch: SplitWatch, percent: float, limits: Limits) -> Measurement:
    """Hold, never roll back: the canary may be good, but it is not compared on the traffic that was meant for it."""
    limit, needed = limits.sample_ratio, 1.0 / limits.sample_alpha
    if not 0.0 < percent < 100.0:
        return Measurement("sample_ratio", "pass", f"at {percent:g} % there is no split to check", None, limit, "ratio")
    window = sequential.evidence_window(watch.test)
    evidence = e_value(sequential.log_evidence(watch.test.log_wealth))
    expected = float(window.requests[CANARY])
    ratio = float(window.events[CANARY]) / expected if expected else None
    counts = (
        f"of {window.events.sum():,.0f} requests the canary got {window.events[CANARY]:,.0f}, {expected:,.0f} were set"
    )
    samples = int(window.events.sum())
    if watch.holds:
        cause = (
            "a worker that does not follow the split, a few routing keys with much of the traffic, or a caller that"
            " repeats events of before the rollout"
        )
        reason = f"sample ratio mismatch: {counts}: look for {cause}"
        return Measurement("sample_ratio", "hold", reason, ratio, limit, "ratio", evidence, needed, samples=samples)
    reason = f"split: {counts}"
    return Measurement("sample_ratio", "pass", reason, ratio, limit, "ratio", evidence, needed, samples=samples)


def _close_cell(watch: SplitWatch, start: int) -> SplitWatch:
    """Compare the minute that ends with the share of the phase's earlier minutes."""
    total, earlier = watch.cell.sum(axis=-1), watch.counted.sum(axis=-1)
    share = (watch.counted[..., CANARY] + 0.5) / (earlier + 1.0)
    variance = total * share * (1.0 - share) * (1.0 + total / np.maximum(earlier, 1.0))
    known = (earlier > 0.0) & (total > 0.0)
    square = (watch.cell[..., CANARY] - total * share) ** 2 / np.maximum(variance, 1e-300)
    return msgspec.structs.replace(
        watch,
        cell_at=start,
        cell=np.zeros_like(watch.cell),
        counted=watch.counted + watch.cell,
        squares=watch.squares + np.where(known, square, 0.0),
        cells=watch.cells + known,
    )
