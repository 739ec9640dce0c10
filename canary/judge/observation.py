"""A bucket as arrays, the form that the statistical tests work on."""

import msgspec
import numpy as np

from canary.judge.evidence import LATENCY_BINS, SCORE_BINS, ArmBucket, Bucket, Histogram
from canary.judge.latency import LatencyArray
from canary.judge.sequential import FloatArray, IntArray


class Observation(msgspec.Struct, frozen=True):
    """The arm axis is (production, canary), `paired` is (n11, n10, n01, n00); leading axes are rollouts."""

    start: int
    phase: int
    requests: FloatArray  # (..., 2)
    errors: FloatArray  # (..., 2)
    latency: LatencyArray  # (..., 2, 458)
    scores: IntArray  # (..., 2, 20)
    paired: IntArray  # (..., 4)


def observe(bucket: Bucket) -> Observation:
    arms = (bucket.production, bucket.canary)
    paired = bucket.paired
    latency = np.zeros((2, LATENCY_BINS), dtype=np.int32)
    scores = np.zeros((2, SCORE_BINS), dtype=np.int64)
    for number, arm in enumerate(arms):
        _fill(latency[number], arm.latency)
        _fill(scores[number], arm.scores)
    return Observation(
        start=bucket.start,
        phase=bucket.phase,
        requests=np.array([_routed(arm) for arm in arms], dtype=np.float64),
        errors=np.array([arm.errors for arm in arms], dtype=np.float64),
        latency=latency,
        scores=scores,
        paired=np.array([paired.n11, paired.n10, paired.n01, paired.n00], dtype=np.int64),
    )


def _routed(arm: ArmBucket) -> int:
    return max(arm.requests, arm.errors)


def _fill(dense: LatencyArray | IntArray, histogram: Histogram) -> None:
    if histogram:
        dense[list(histogram)] = list(histogram.values())
