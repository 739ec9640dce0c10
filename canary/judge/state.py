"""The judge's state of a rollout.

The state is sufficient: a tick reads only the newly sealed buckets, and the same buckets in the same order
give the same state to the last bit. Leading axes of every array are independent rollouts (none when serving).
"""

from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from canary.judge import confidence, sample_ratio, sequential
from canary.judge.evidence import HISTORY_PHASE, LATENCY_BINS, SCORE_BINS
from canary.judge.latency import LatencyArray, LatencyWindow, empty_window
from canary.judge.sample_ratio import SplitWatch
from canary.judge.sequential import FloatArray, IntArray, SplitTest
from canary.limits import Limits

ERROR_ALTERNATIVES = np.array([1.25, 1.6, 2.5, 5.0, 16.0, 64.0])
LATENCY_ALTERNATIVES = np.array([1.1, 1.25, 1.6, 2.5, 5.0, 12.0])
GO_ALTERNATIVES = np.array([0.85, 0.7, 0.5, 0.25])
# The alternatives of both tests that a confidence sequence comes from, in the order of confidence.MORE and FEWER.
ERROR_FAMILY = np.concatenate([ERROR_ALTERNATIVES, GO_ALTERNATIVES])
LATENCY_FAMILY = np.concatenate([LATENCY_ALTERNATIVES, GO_ALTERNATIVES])

# The restart weights of a test sum to at most 1: this weight for production's history and for each of four phases,
# and absorb.RESTARTS_WEIGHT for all five-minute restarts.
PHASE_WEIGHT = 0.1
WEIGHTED_PHASES = 5
# An array of this many floats is stored in base64: as decimal numbers it would take twice the space.
_MIN_PACKED = 64


class PhaseEvidence(msgspec.Struct, frozen=True):
    """The evidence of one phase; each phase starts without any.

    *_go: (..., 4) log wealth against "1.5 times the errors", "more than negligible errors", "1.3 times the p95",
    "more than a negligible p95".
    The rest are counts per arm (..., 2): timed requests and the slow ones among them, scores (..., 2, 20);
    paired (..., 4) is (n11, n10, n01, n00).
    """

    number: int
    started: int
    error_go: FloatArray
    negligible_go: FloatArray
    latency_go: FloatArray
    fast_go: FloatArray
    requests: FloatArray
    errors: FloatArray
    timed: FloatArray
    slow: FloatArray
    scores: IntArray
    paired: IntArray


class JudgeState(msgspec.Struct, frozen=True):
    """started, through: epoch seconds of the first bucket's start and the last one's end.

    phases:       phases that began with a restart weight.
    restarts:     five-minute restarts that have begun.
    production_*: totals of the rollout; a phase at 100 % is compared with them.
    unanswered:   canary requests expected since the canary last answered one, which was at silent_since or before.
    split:        the sample-ratio check; None in the state of a rollout that began before there was one.
    *_ratios:     log wealth (..., G, 10) of the tests behind the confidence sequences, which decide nothing; None in
                  the state of a rollout that began before there were any.
    """

    started: int
    through: int
    phases: int
    restarts: int
    errors: SplitTest
    latency: SplitTest
    paired: IntArray
    phase: PhaseEvidence
    window: LatencyWindow
    production_requests: FloatArray
    production_errors: FloatArray
    production_latency: IntArray
    unanswered: FloatArray
    silent_since: FloatArray
    split: SplitWatch | None = None
    error_ratios: FloatArray | None = None
    latency_ratios: FloatArray | None = None


def new_state(shape: tuple[int, ...], start: int, limits: Limits) -> JudgeState:
    """Return the state before the first bucket, whose phase has not begun yet."""
    return JudgeState(
        started=start,
        through=start,
        phases=0,
        restarts=0,
        errors=sequential.begin_test(shape, ERROR_ALTERNATIVES),
        latency=sequential.begin_test(shape, LATENCY_ALTERNATIVES),
        paired=np.zeros((*shape, 4), dtype=np.int64),
        phase=_new_phase(shape, HISTORY_PHASE - 1, start),
        window=empty_window(shape),
        production_requests=np.zeros(shape),
        production_errors=np.zeros(shape),
        production_latency=np.zeros((*shape, LATENCY_BINS), dtype=np.int64),
        unanswered=np.zeros(shape),
        silent_since=np.full(shape, float(start)),
        split=sample_ratio.begin_watch(shape, start),
        error_ratios=confidence.begin_tests(shape, confidence.error_ratios(limits), ERROR_FAMILY),
        latency_ratios=confidence.begin_tests(shape, confidence.latency_ratios(limits)[1], LATENCY_FAMILY),
    )


def begin_phase(state: JudgeState, number: int, start: int, percent: float) -> JudgeState:
    """Start a phase, and put some of the tests' weight on a change that comes with it.

    A phase at 0 % cannot cause a change, so only the first phase gets a weight regardless.
    """
    if state.phases < WEIGHTED_PHASES and (percent > 0.0 or state.phases == 0):
        state = msgspec.structs.replace(restart(state, PHASE_WEIGHT, start), phases=state.phases + 1)
    return msgspec.structs.replace(
        state,
        phase=_new_phase(state.unanswered.shape, number, start),
        unanswered=np.zeros_like(state.unanswered),
        silent_since=np.full_like(state.silent_since, start),
        split=state.split and sample_ratio.begin_phase(state.split, start),
        error_ratios=_changed(confidence.begin_phase, state.error_ratios),
        latency_ratios=_changed(confidence.begin_phase, state.latency_ratios),
    )


def restart(state: JudgeState, weight: float, at: int) -> JudgeState:
    split = state.split
    if split:
        split = msgspec.structs.replace(split, test=sequential.restart(split.test, weight, at))
    return msgspec.structs.replace(
        state,
        split=split,
        errors=sequential.restart(state.errors, weight, at),
        latency=sequential.restart(state.latency, weight, at),
        error_ratios=_changed(confidence.restart, state.error_ratios, weight),
        latency_ratios=_changed(confidence.restart, state.latency_ratios, weight),
    )


def _changed(change: Callable[..., FloatArray], log_wealth: FloatArray | None, *values: float) -> FloatArray | None:
    return None if log_wealth is None else change(log_wealth, *values)


def encode_state(state: JudgeState) -> bytes:
    """Return JSON of a few kilobytes, from which `decode_state` restores every bit."""
    return _ENCODER.encode(state)


def decode_state(encoded: bytes | str) -> JudgeState:
    return _DECODER.decode(encoded)


def _new_phase(shape: tuple[int, ...], number: int, start: int) -> PhaseEvidence:
    go = np.zeros((*shape, len(GO_ALTERNATIVES)))
    arms = np.zeros((*shape, 2))
    return PhaseEvidence(
        number=number,
        started=start,
        error_go=go,
        negligible_go=go,
        latency_go=go,
        fast_go=go,
        requests=arms,
        errors=arms,
        timed=arms,
        slow=arms,
        scores=np.zeros((*shape, 2, SCORE_BINS), dtype=np.int64),
        paired=np.zeros((*shape, 4), dtype=np.int64),
    )


def _to_json(array: Any) -> Any:
    """Encode most arrays as lists of numbers, and large ones more compactly.

    A histogram is [first filled bin, bytes per count, base64 of the counts of both arms up to the last filled bin], and
    a grid of log wealth {"columns": ..., "base64": ...} by rows.
    """
    if array.dtype == np.float64 and array.size >= _MIN_PACKED:
        return {"columns": array.shape[-1], "base64": array.astype("<f8").tobytes()}
    if array.dtype != np.int32:
        return array.tolist()
    filled = array.any(axis=0).nonzero()[0]
    counts = array[:, filled[0] : filled[-1] + 1] if len(filled) else array[:, :0]
    size = 2 if counts.max(initial=0) < 1 << 16 else 4
    return [int(filled[0]) if len(filled) else 0, size, counts.astype(f"<u{size}").tobytes()]


def _from_json(kind: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return np.frombuffer(a2b_base64(value["base64"]), dtype="<f8").reshape(-1, value["columns"])
    if kind != LatencyArray:
        return np.array(value, dtype=np.float64 if kind == FloatArray else np.int64)
    first, size, encoded = value
    counts = np.frombuffer(a2b_base64(encoded), dtype=f"<u{size}").reshape(2, -1)
    latency = np.zeros((2, LATENCY_BINS), dtype=np.int32)
    latency[:, first : first + counts.shape[1]] = counts
    return latency


_ENCODER = msgspec.json.Encoder(enc_hook=_to_json)
_DECODER = msgspec.json.Decoder(JudgeState, dec_hook=_from_json)
