"""A bucket as arrays, the form the tests work on."""

import msgspec
import numpy as np

from canary.evidence import LATENCY_BINS, SCORE_BINS, ArmBucket, Bucket, Histogram
from canary.latency import LatencyArray
from canary.sequential import FloatArray, IntArray


class Observation(msgspec.Struct, frozen=True):
    """The arm axis is (production, canary), `paired` is (n11, n10, n01, n00); axes before are rollouts."""

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
    return Observation(
        start=bucket.start,
        phase=bucket.phase,
        requests=np.array([_routed(arm) for arm in arms], dtype=np.float64),
        errors=np.array([arm.errors for arm in arms], dtype=np.float64),
        latency=np.stack([_dense(arm.latency, LATENCY_BINS) for arm in arms]).astype(np.int32),
        scores=np.stack([_dense(arm.scores, SCORE_BINS) for arm in arms]),
        paired=np.array([paired.n11, paired.n10, paired.n01, paired.n00], dtype=np.int64),
    )


def _routed(arm: ArmBucket) -> int:
    return max(arm.requests, arm.errors)


def _dense(histogram: Histogram, bins: int) -> IntArray:
    dense = np.zeros(bins, dtype=np.int64)
    if histogram:
        dense[list(histogram)] = list(histogram.values())
    return dense
